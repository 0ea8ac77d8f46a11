"""A web server on loopback that gives the answers a test writes down, and remembers what was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from prefect_imagine.testing.stand_in import listening

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    target: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class ScriptedApi:
    """Answers by `METHOD /path`, in order; the last one of an endpoint is given again and again, and
    `default` where there is none."""

    url: str = ""
    default: Answer | None = None
    seen: list[Seen] = field(default_factory=list)
    _answers: dict[str, list[Answer]] = field(default_factory=dict)

    def on(self, endpoint: str, *answers: Answer) -> None:
        """Answer an endpoint like this from now on."""
        self._answers[endpoint] = list(answers)

    def count(self, endpoint: str) -> int:
        """How many requests an endpoint got."""
        return sum(f"{one.method} {one.path}" == endpoint for one in self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if request.content_type == "application/json" and raw else raw.decode()
        self.seen.append(
            Seen(request.method, request.path, request.path_qs, request.query, request.headers, body)
        )
        answers = self._answers.get(f"{request.method} {request.path}") or [self.default or not_found]
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)


async def not_found(request: web.Request) -> web.StreamResponse:
    """What an endpoint answers that the test did not write down."""
    return web.json_response({"detail": f"{request.path} was not scripted"}, status=404)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """JSON."""

    async def give(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return give


def text_answer(text: str, status: int = 200, content_type: str = "text/html") -> Answer:
    """What is not JSON."""

    async def give(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, content_type=content_type)

    return give


def chunked_answer(body: Any) -> Answer:
    """JSON in pieces, without a length, of a type that says it is JSON in its own way."""

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/vnd.api+json; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for byte in json.dumps(body).encode():
            await response.write(bytes([byte]))
        return response

    return give


def paged_answer(rows: list[Any], cap: int, wrap: Callable[[list[Any]], Any] = list) -> Answer:
    """A list that takes `limit` and `offset`, and shows at most `cap` rows at once."""

    async def give(request: web.Request) -> web.StreamResponse:
        start = int(request.query.get("offset", 0))
        size = min(cap, int(request.query.get("limit", cap)))
        return web.json_response(wrap(rows[start : start + size]))

    return give


@asynccontextmanager
async def scripted_api() -> AsyncIterator[ScriptedApi]:
    """A server that listens until the block ends."""
    api = ScriptedApi()
    async with listening(api.handle) as api.url:
        yield api
