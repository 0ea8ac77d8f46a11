"""`/_sandbox`: what only a sandbox tells, and what only a sandbox lets itself be told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from prefect_imagine.sandbox.core.faults import FaultRule
from prefect_imagine.sandbox.core.shapes import as_list
from prefect_imagine.sandbox.core.world import World
from prefect_imagine.sandbox.server.report import Report

BASE = "/_sandbox"


class Control:
    """JSON endpoints for drivers and tests; no credentials, no faults, no rate limit."""

    def __init__(self, world: World, report: Report) -> None:
        self._world, self._report = world, report

    def add_to(self, app: web.Application) -> None:
        routes: list[tuple[str, str, Any]] = [
            ("GET", "/books", self.books),
            ("GET", "/count", self.count),
            ("GET", "/webhooks", self.webhooks),
            ("GET", "/settings", self.settings),
            ("PATCH", "/settings", self.configure),
            ("GET", "/faults", self.faults),
            ("POST", "/faults", self.add_faults),
            ("DELETE", "/faults", self.clear_faults),
            ("POST", "/advance", self.advance),
            ("POST", "/reset", self.reset),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, BASE + path, handler)

    async def books(self, request: web.Request) -> web.Response:
        """`?jobs=0` leaves the jobs out, `?sha256=0` their files' sums, `?provider=` all other providers."""
        jobs, sums = request.query.get("jobs") != "0", request.query.get("sha256") != "0"
        provider = request.query.get("provider")
        report = await asyncio.to_thread(self._report.books, jobs=jobs, sums=sums, provider=provider)
        return web.json_response(report)

    async def count(self, request: web.Request) -> web.Response:
        return web.json_response(self._report.count())

    async def webhooks(self, request: web.Request) -> web.Response:
        """What has been delivered to webhooks, without the books."""
        return web.json_response(self._report.webhooks())

    async def settings(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.settings.as_json())

    async def configure(self, request: web.Request) -> web.Response:
        def change(body: Any) -> Any:
            return self._world.configure(**body).as_json()

        return await _applied(request, change)

    async def faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.faults.as_json())

    async def add_faults(self, request: web.Request) -> web.Response:
        """One rule, or a list of which all are added or none."""

        def add(body: Any) -> Any:
            listed = as_list(body)
            given = [body] if listed is None else listed
            self._world.faults.add(*[FaultRule.from_json(one) for one in given])
            return self._world.faults.as_json()

        return await _applied(request, add)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear()
        return web.json_response([])

    async def advance(self, request: web.Request) -> web.Response:
        """`{"seconds": n}`: the sandbox's clock jumps ahead."""

        def jump(body: Any) -> Any:
            self._world.advance(float(body["seconds"]))
            return {"now": self._world.clock.now()}

        return await _applied(request, jump)

    async def reset(self, request: web.Request) -> web.Response:
        self._world.reset()
        return web.json_response(self._report.count())


async def _applied(request: web.Request, change: Callable[[Any], Any]) -> web.Response:
    try:
        return web.json_response(change(json.loads(await request.read())))
    except (ValueError, TypeError, KeyError) as problem:
        return web.json_response({"error": str(problem) or type(problem).__name__}, status=400)
