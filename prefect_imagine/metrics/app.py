"""The exporter as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_imagine.errors import StoreError
from prefect_imagine.metrics.exporter import Exporter
from prefect_imagine.redaction import printable

DEADLINE_SECONDS = 9.0
"""Prometheus waits 10 where it is not told otherwise."""
LONGEST_SECONDS = 60.0
SPARE_SECONDS = 0.5
"""For the way of an answer."""
TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
UNAVAILABLE = 503


def metrics_app(exporter: Exporter) -> Starlette:
    """An application with `GET /metrics` and `GET /health`. Both answer 503 while the store does not: to
    Prometheus that is a failed scrape (`up` is 0), and the series end instead of standing still."""

    async def metrics(request: Request) -> Response:
        try:
            found = await exporter.metrics(_deadline(request))
        except StoreError as error:
            return PlainTextResponse(f"{printable(str(error))}\n", UNAVAILABLE)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await asyncio.to_thread(encode, found), media_type=media_type)

    async def health(request: Request) -> Response:
        try:
            await exporter.metrics(_deadline(request))
        except StoreError:
            return JSONResponse({"status": "the store does not answer"}, UNAVAILABLE)
        return JSONResponse({"status": "ok"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await exporter.aclose()

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/health", health)],
        middleware=[Middleware(GZipMiddleware, minimum_size=2048, compresslevel=1)],
        lifespan=lifespan,
    )


def _deadline(request: Request) -> float:
    """For how long whoever asks will wait."""
    try:
        told = float(request.headers.get(TIMEOUT_HEADER, ""))
    except ValueError:
        return DEADLINE_SECONDS
    return min(max(told - SPARE_SECONDS, SPARE_SECONDS), LONGEST_SECONDS)
