"""The two web applications of a sandbox: the APIs with their control, and the CDN."""

from __future__ import annotations

from aiohttp import web

from prefect_imagine.sandbox.apis.aivisualstudio import AIVisualStudio
from prefect_imagine.sandbox.apis.base import Answer, Api, Call, Route
from prefect_imagine.sandbox.apis.blockadelabs import BlockadeLabs
from prefect_imagine.sandbox.apis.imagineapi import ImagineAPI
from prefect_imagine.sandbox.apis.imaginelab import ImagineLab
from prefect_imagine.sandbox.core.outputs import Origins
from prefect_imagine.sandbox.core.world import World
from prefect_imagine.sandbox.server.assets import Assets
from prefect_imagine.sandbox.server.cdn import MediaServer
from prefect_imagine.sandbox.server.control import Control
from prefect_imagine.sandbox.server.pipeline import make_handler
from prefect_imagine.sandbox.server.report import Report

BODY_BYTES = 4 * 1024 * 1024


class Applications:
    """`api` and `cdn` share one world; `locate` tells them their addresses once these are known."""

    def __init__(self, world: World) -> None:
        self.report = Report(world)
        self._media = MediaServer(world)
        self._imagineapi = ImagineAPI(world)
        self._apis: list[Api] = [
            ImagineLab(world),
            BlockadeLabs(world),
            self._imagineapi,
            AIVisualStudio(world),
        ]
        self.api = self._make_api(Control(world, self.report))
        self.cdn = self._make_cdn()

    @property
    def bases(self) -> dict[str, str]:
        """Each provider's base path."""
        return {api.provider: api.base for api in self._apis}

    def locate(self, origins: Origins) -> None:
        self.report.origins = origins
        for api in self._apis:
            api.origins = origins

    def _make_api(self, control: Control) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES)
        control.add_to(app)
        for api in self._apis:
            for route in api.routes():
                app.router.add_route(route.method, api.base + route.path, make_handler(api, route))
        assets = Assets(self._imagineapi, self._media)
        app.router.add_route("GET", "/imagineapi/assets/{asset}/{file}", assets.serve)
        for api in self._apis:
            nowhere = make_handler(api, _nowhere(api))
            app.router.add_route("*", f"/{api.provider}/{{tail:.*}}", nowhere)
        return app

    def _make_cdn(self) -> web.Application:
        app = web.Application()
        path = r"/{provider}/{job:\d{1,9}}/{index:\d}/{name}"
        app.router.add_route("GET", path, self._media.from_cdn)
        return app


def _nowhere(api: Api) -> Route:
    """What every path without an endpoint answers."""

    def refuse(call: Call) -> Answer:
        raise api.refuse("not_found", "Not Found", 404, **api.unknown_route)

    return Route("*", "", "other", refuse, open=True)
