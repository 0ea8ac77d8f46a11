"""Serving media files, whole and sound, or spoilt by a fault."""

from __future__ import annotations

import asyncio

from aiohttp import web

from prefect_imagine.sandbox.apis.base import Refusal
from prefect_imagine.sandbox.core.books import Job
from prefect_imagine.sandbox.core.faults import Fired, seconds_of
from prefect_imagine.sandbox.core.outputs import Output, is_there, output, strangers
from prefect_imagine.sandbox.core.settings import PROVIDERS
from prefect_imagine.sandbox.core.world import World
from prefect_imagine.sandbox.media.files import Media, render
from prefect_imagine.sandbox.server.pipeline import abort

ERROR_PAGE = "<!doctype html><html><head><title>Please wait</title></head><body>Please wait.</body></html>"
CREDENTIALS = ("Authorization", "x-api-key")


class MediaServer:
    """The files of all jobs. Used by the CDN for three providers and by ImagineAPI's own assets."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def from_cdn(self, request: web.Request) -> web.StreamResponse:
        """`GET /{provider}/{job}/{index}/{name}` on the CDN's own origin, which no credential belongs to."""
        if any(name in request.headers for name in CREDENTIALS) or "api_key" in request.query:
            self._world.books.credential_leaks += 1
        found = self._find(request)
        if found is None:
            return web.Response(status=404, text="Not found", headers=self._headers())
        job, one = found
        return await self.send(request, job, one)

    def _find(self, request: web.Request) -> tuple[Job, Output] | None:
        info, jobs = request.match_info, self._world.books.jobs
        number = int(info["job"])
        if info["provider"] not in PROVIDERS or number > len(jobs):
            return None
        job = jobs[number - 1] if number else self._strangers(info["provider"])
        index = int(info["index"])
        if job.provider != info["provider"] or job.deleted or job.order.kind == "text":
            return None
        one = output(job, index)
        ready = is_there(job, index, self._world.clock.now())
        return (job, one) if ready and one.name == info["name"] else None

    def _strangers(self, provider: str) -> Job:
        self._world.deliveries.tallies[provider].forged_fetched += 1
        return strangers(provider)

    async def send(self, request: web.Request, job: Job, one: Output) -> web.StreamResponse:
        """The file, unless its address has expired or a fault says otherwise."""
        books = self._world.books
        books.arrive(job.provider, "media")
        status = 0
        try:
            fired = self._world.faults.fire(job.provider, "media", job.prompt)
            response = await self._spoilt(request, job, fired) or await self._file(request, one, fired)
            status = response.status
            return response
        except ConnectionResetError:  # the client has gone
            return abort(request)
        finally:
            books.leave(job.provider, status)

    def refused(self, provider: str, refusal: Refusal) -> web.Response:
        """An error answer of the API that guards its files itself."""
        self._world.books.arrive(provider, "media")
        self._world.books.leave(provider, refusal.status)
        headers = self._headers() | refusal.headers
        return web.json_response(refusal.body, status=refusal.status, headers=headers)

    async def _spoilt(self, request: web.Request, job: Job, fired: Fired) -> web.StreamResponse | None:
        """An answer that has nothing of the file, if there is reason for one."""
        if rule := fired.get("slow"):
            await asyncio.sleep(seconds_of(rule))
        if "cut_before" in fired:
            return abort(request)
        if rule := fired.get("error_before"):
            return self._plain(rule.status or 503, "Service unavailable")
        if rule := fired.get("rate_limited"):
            wait = {} if rule.seconds is None else {"Retry-After": f"{rule.seconds:g}"}
            return self._plain(429, "Slow down", wait)
        if "expired_url" in fired:
            job.expired_version = job.url_version
        if _version(request) <= job.expired_version:
            return self._plain(403, "Request has expired")
        if "html" in fired:
            return web.Response(text=ERROR_PAGE, content_type="text/html", headers=self._headers())
        return None

    def _plain(self, status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
        return web.Response(status=status, text=text, headers=self._headers() | (headers or {}))

    async def _file(self, request: web.Request, one: Output, fired: Fired) -> web.StreamResponse:
        media = await asyncio.to_thread(render, one.spec)
        media_type = "application/octet-stream" if "wrong_type" in fired else one.media_type
        wanted = media.length
        if "empty" in fired:
            wanted = 0
        elif "truncated" in fired:
            wanted //= 2
        response = web.StreamResponse(headers=self._headers() | {"Content-Type": media_type})
        if "no_length" in fired:
            response.enable_chunked_encoding()
        else:
            response.content_length = wanted
        await response.prepare(request)
        if "cut_body" in fired:
            await _write(response, media, wanted // 2)
            abort(request)
            return response
        await _write(response, media, wanted)
        await response.write_eof()
        return response

    def _headers(self) -> dict[str, str]:
        return {"Date": self._world.clock.http_date(self._world.settings.clock_offset_seconds)}


async def _write(response: web.StreamResponse, media: Media, wanted: int) -> None:
    """The first `wanted` bytes of a file, a block at a time as the client takes them."""
    for chunk in media.chunks():
        if wanted <= 0:
            return
        await response.write(chunk[:wanted])
        wanted -= len(chunk)


def _version(request: web.Request) -> int:
    """Which version of its address a file was asked for under; 1 when the address does not say."""
    text = request.query.get("ver") or request.query.get("v") or "1"
    return int(text) if text.isdecimal() else 1
