"""ImagineAPI's files, which live on the API's own origin."""

from __future__ import annotations

from aiohttp import web

from prefect_imagine.sandbox.apis.base import Refusal
from prefect_imagine.sandbox.apis.imagineapi import ImagineAPI
from prefect_imagine.sandbox.core.accounts import ANONYMOUS, Account
from prefect_imagine.sandbox.core.books import Job
from prefect_imagine.sandbox.core.outputs import Output, is_there, output
from prefect_imagine.sandbox.server.cdn import MediaServer
from prefect_imagine.sandbox.server.pipeline import take_from_limit

DIGITS = "123456789a"
"""The last digit of an asset's id by the index of its file."""


class Assets:
    """`GET /assets/{asset_id}/{file}`: open to everybody who knows the address, unless a setting guards them;
    a wrong token is refused all the same, as Directus does."""

    def __init__(self, api: ImagineAPI, media: MediaServer) -> None:
        self._api, self._media = api, media

    async def serve(self, request: web.Request) -> web.StreamResponse:
        try:
            job, one = self._find(request)
        except Refusal as refusal:
            return self._media.refused(self._api.provider, refusal)
        return await self._media.send(request, job, one)

    def _find(self, request: web.Request) -> tuple[Job, Output]:
        world = self._api.world
        now = world.clock.now()
        caller = self._caller(request, now)
        if world.settings.media_limited:
            take_from_limit(self._api, caller, now)
        wanted = request.match_info["asset"]
        job, index = self._job(f"{wanted[:-1]}0", caller), DIGITS.find(wanted[-1])
        if job is None or index < 0 or not is_there(job, index, now):
            raise self._api.not_found(wanted)
        return job, output(job, index)

    def _caller(self, request: web.Request, now: float) -> Account:
        guarded = self._api.world.settings.imagineapi_assets_need_token
        if guarded or "Authorization" in request.headers:
            return self._api.authenticate(request, None, now)
        return self._api.world.accounts.by_name(self._api.provider, ANONYMOUS)

    def _job(self, job_id: str, caller: Account) -> Job | None:
        world = self._api.world
        if world.settings.imagineapi_assets_need_token:
            return world.books.find(caller, job_id)
        job = world.books.by_id.get((self._api.provider, job_id))
        return job if job and not job.deleted else None
