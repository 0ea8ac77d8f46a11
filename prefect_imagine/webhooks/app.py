"""The receiver as an ASGI application: by itself, or mounted into another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefect_imagine.batches.inbox import LARGEST_BODY
from prefect_imagine.errors import StoreError
from prefect_imagine.webhooks.receiver import OK, UNAVAILABLE, Receiver

TOO_SLOW = 408
BODY_SECONDS = 10.0
HEALTH_SECONDS = 5.0
"""For how long it is believed that the store can be written to."""


def webhook_app(receiver: Receiver) -> Starlette:
    """An application with `POST /<provider>`, `POST /<provider>/<capability>` and `GET /health`.

    By itself it says every half minute that it lives; mounted into another one, whose lifespan does not reach
    it, at each delivery.
    """

    async def deliver(request: Request) -> Response:
        parts = request.path_params
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=OK)  # there is nobody to answer
        except TimeoutError:
            return Response(status_code=TOO_SLOW, headers={"Connection": "close"})
        headers = {name.lower(): value for name, value in request.headers.items()}
        return Response(
            status_code=await receiver.take(parts["provider"], parts.get("capability"), headers, body)
        )

    async def health(request: Request) -> Response:
        try:
            await receiver.beat(HEALTH_SECONDS)
        except StoreError:
            return JSONResponse({"status": "the store cannot be written to"}, UNAVAILABLE)
        return JSONResponse({"status": "ok"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        beating = asyncio.create_task(receiver.keep_beating())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
            await receiver.aclose()

    paths = ("/{provider}", "/{provider}/{capability}")
    app = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            *(Route(path + slash, deliver, methods=["POST"]) for path in paths for slash in ("", "/")),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # nobody repeats a POST elsewhere
    return app


async def _body(request: Request) -> bytes | None:
    """The body; `None` where it is larger than it may be, of which no more than that is read."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > LARGEST_BODY:
        return None
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > LARGEST_BODY:
            return None
    return bytes(read)
