"""A receiver on loopback, over a batch's root."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_imagine.stores import Store
from prefect_imagine.webhooks import Ended, Receiver, webhook_app
from prefect_imagine.webhooks.connections import ImpatientProtocol

SECRET = SecretStr("a secret that nobody can guess")


@dataclass
class Served:
    """A receiver that runs: where, and which jobs it has said to have ended."""

    address: str
    receiver: Receiver
    signing_secrets: dict[str, Sequence[SecretStr]]
    ended: list[Ended] = field(default_factory=list)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Deliver something; returns the status of the answer."""
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{self.address}{path}", content=body, headers=headers, timeout=60)
        return answer.status_code


@asynccontextmanager
async def served(
    store: Store,
    signing_secrets: Mapping[str, Sequence[SecretStr]] | None = None,
    mounted_at: str | None = None,
    http: type[H11Protocol] = ImpatientProtocol,
) -> AsyncIterator[Served]:
    """A receiver, as long as the context lasts."""
    ended: list[Ended] = []

    async def note(job: Ended) -> None:
        ended.append(job)

    secrets = dict(signing_secrets or {})
    receiver = Receiver(store, signing_secrets=secrets, capability_secret=SECRET, on_ended=note)
    app = webhook_app(receiver)
    if mounted_at is not None:
        app = Starlette(routes=[Mount(mounted_at, app)])
    config = uvicorn.Config(
        app, port=0, http=http, log_level="warning", access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
            if running.done():
                await running
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", receiver, secrets, ended)
    finally:
        server.should_exit = True
        await running
