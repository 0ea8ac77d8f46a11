"""The way of every API request: count, authenticate, limit, fail if a fault says so, answer, fail again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from prefect_imagine.sandbox.apis.announcing import fired_at_create
from prefect_imagine.sandbox.apis.base import Answer, Api, Call, Refusal, Route
from prefect_imagine.sandbox.core.accounts import ANONYMOUS, Account
from prefect_imagine.sandbox.core.faults import Fired, seconds_of
from prefect_imagine.sandbox.core.ratelimit import limit_headers, retry_after

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

GATEWAY_PAGE = "<html><head><title>{0}</title></head><body><h1>{0} Server Error</h1></body></html>"


def make_handler(api: Api, route: Route) -> Handle:
    """An aiohttp handler for one endpoint of one API."""

    async def handle(request: web.Request) -> web.StreamResponse:
        books = api.world.books
        books.arrive(api.provider, route.operation)
        status = 0
        try:
            response = await _Passage(api, route, request).run()
            status = response.status
            return response
        finally:
            books.leave(api.provider, status)

    return handle


class _Cut(Exception):
    """The connection is to be aborted instead of answered."""


class _Passage:
    """One request on its way through; `headers` are those every answer to it carries."""

    def __init__(self, api: Api, route: Route, request: web.Request) -> None:
        self._api, self._route, self._request = api, route, request
        self._world = api.world
        self._now = self._world.clock.now()
        self.headers = {"Date": self._world.clock.http_date(self._world.settings.clock_offset_seconds)}

    async def run(self) -> web.StreamResponse:
        try:
            response = await self._respond()
        except Refusal as refusal:
            response = self._json(refusal.status, refusal.body)
            response.headers.update(refusal.headers)
        except _Cut:
            return abort(self._request)
        if self._world.settings.server_delay_seconds:
            await asyncio.sleep(self._world.settings.server_delay_seconds)
        return response

    async def _respond(self) -> web.Response:
        body = await _read_body(self._request)
        account = self._authenticated(body)
        self._limit(account)
        if not self._api.may(self._route.operation):
            raise self._api.forbidden()
        call = Call(account, self._now, self._request, body)
        fired = self._fired(call)
        if fired:
            self._fail_before(fired)
            call = replace(await self._late(call, fired), fired=fired)
        answer = self._route.handler(call)
        return await self._fail_after(answer, fired) if fired else self._json(answer.status, answer.body)

    def _authenticated(self, body: Any) -> Account:
        accounts = self._world.accounts
        if self._route.open:
            return accounts.by_name(self._api.provider, ANONYMOUS)
        try:
            return self._api.authenticate(self._request, body, self._now)
        except Refusal:
            stranger = accounts.by_name(self._api.provider, ANONYMOUS)
            self.headers |= shown_limit(self._api, stranger, self._now)
            raise

    def _limit(self, account: Account) -> None:
        if self._route.open:
            self.headers |= shown_limit(self._api, account, self._now)
        else:
            self.headers |= take_from_limit(self._api, account, self._now)

    def _fired(self, call: Call) -> Fired:
        prompt = self._prompt(call)
        fired = self._world.faults.fire(self._api.provider, self._route.operation, prompt)
        if self._route.operation != "create":
            return fired
        return {**fired, **fired_at_create(self._api, call, prompt)}

    def _prompt(self, call: Call) -> str | None:
        """The prompt this request is about, for rules that match one."""
        if self._route.operation == "create":
            return str((call.fields or {}).get("prompt", ""))
        job_id = self._api.job_id_in(self._request)
        job = self._world.books.find(call.account, job_id) if job_id else None
        return job.prompt if job else None

    def _fail_before(self, fired: Fired) -> None:
        """Everything that keeps the request from having any effect."""
        if "cut_before" in fired:
            raise _Cut
        if rule := fired.get("rate_limited"):
            if "X-RateLimit-Remaining" in self.headers:
                self.headers["X-RateLimit-Remaining"] = "0"
            refusal = self._api.refuse("rate_limited", "Too many requests, please slow down", rule.status)
            if rule.seconds is not None:
                refusal.headers["Retry-After"] = f"{rule.seconds:g}"
            raise refusal
        if rule := fired.get("error_before"):
            raise self._server_error(rule.status or 500)
        if "expired_token" in fired:
            raise self._api.expire_credentials(self._request)
        if "image_error" in fired and (permanent := self._api.image_error()):
            raise permanent
        if "error_200" in fired and self._api.errors_as_200:
            raise self._api.refuse("server_error", "Something went wrong, please try again", 200)

    async def _late(self, call: Call, fired: Fired) -> Call:
        """Acceptance that takes its time, and happens even if the client has left meanwhile."""
        if rule := fired.get("slow_accept"):
            epoch = self._world.books.epoch
            await asyncio.sleep(seconds_of(rule))
            if self._world.books.epoch != epoch:
                raise _Cut
            return replace(call, now=self._world.clock.now())
        return call

    async def _fail_after(self, answer: Answer, fired: Fired) -> web.Response:
        """Everything that spoils the answer to a request that took effect."""
        if rule := fired.get("slow"):
            await asyncio.sleep(seconds_of(rule))
        if rule := fired.get("webhook_early"):
            await asyncio.sleep(seconds_of(rule))
        if "cut_after" in fired:
            raise _Cut
        if rule := fired.get("error_after"):
            raise self._server_error(rule.status or 502)
        if "garbage_after" in fired:
            return web.Response(
                body=b'{"id": "\xff\xfe', content_type="application/json", headers=self.headers
            )
        return self._json(answer.status, answer.body)

    def _server_error(self, status: int) -> Refusal:
        """A gateway answers 502 and 504 with a page of its own, the API itself anything else."""
        if status in (502, 504):
            return Refusal(status, GATEWAY_PAGE.format(status))
        return self._api.refuse("server_error", "Internal server error", status)

    def _json(self, status: int, body: Any) -> web.Response:
        if body is None:
            return web.Response(status=204 if status == 200 else status, headers=self.headers)
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=self.headers)
        data = json.dumps(body).encode()
        return web.Response(
            status=status, body=data, headers=self.headers, content_type="application/json", charset="utf-8"
        )


def shown_limit(api: Api, account: Account, now: float) -> dict[str, str]:
    """The headers that tell an account's rate limit without taking from it."""
    settings = api.world.settings
    rule = settings.rate_limits[api.provider]
    return limit_headers(rule, account.limiter(rule).look(now), now, settings.clock_offset_seconds)


def take_from_limit(api: Api, account: Account, now: float) -> dict[str, str]:
    """Count one request of an account, and the headers that tell what is left; `Refusal` beyond the limit."""
    settings = api.world.settings
    rule = settings.rate_limits[api.provider]
    verdict = account.limiter(rule).take(now)
    headers = limit_headers(rule, verdict, now, settings.clock_offset_seconds)
    if verdict.allowed:
        return headers
    wait = retry_after(verdict, now)
    refusal = api.refuse("rate_limited", f"Too many requests. Try again in {wait} seconds")
    refusal.headers |= headers | ({"Retry-After": wait} if api.tells_retry_after else {})
    raise refusal


def abort(request: web.Request) -> web.Response:
    """Cut the TCP connection; the response returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


async def _read_body(request: web.Request) -> Any:
    """The JSON or form of a request; None when there is none or it cannot be read."""
    if not request.can_read_body:
        return None
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return {name: str(value) for name, value in (await request.post()).items()}
    raw = await request.read()
    try:
        return json.loads(raw)
    except ValueError:
        return None
