"""ImagineAPI's files, which live on the API's own origin and need its token."""

from __future__ import annotations

from aiohttp import web

from prefect_imagine.sandbox.api import Refusal
from prefect_imagine.sandbox.books import Job
from prefect_imagine.sandbox.cdn import MediaServer
from prefect_imagine.sandbox.imagineapi import ImagineAPI
from prefect_imagine.sandbox.outputs import Output, is_there, output

DIGITS = "123456789a"
"""The last digit of an asset's id by the index of its file."""


class Assets:
    """`GET /assets/{asset_id}/{file}`: refused as Directus does; not counted by the rate limit."""

    def __init__(self, api: ImagineAPI, media: MediaServer) -> None:
        self._api, self._media = api, media

    async def serve(self, request: web.Request) -> web.StreamResponse:
        try:
            job, one = self._find(request)
        except Refusal as refusal:
            return self._media.refused(self._api.provider, refusal.status, refusal.body)
        return await self._media.send(request, job, one)

    def _find(self, request: web.Request) -> tuple[Job, Output]:
        world = self._api.world
        now = world.clock.now()
        account = self._api.authenticate(request, None, now)
        wanted = request.match_info["asset"]
        job, index = world.books.find(account, f"{wanted[:-1]}0"), DIGITS.find(wanted[-1])
        if job is None or index < 0 or not is_there(job, index, now):
            raise self._api.not_found(wanted)
        return job, output(job, index)
