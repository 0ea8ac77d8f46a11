"""How much of a stage is under way together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from prefect_imagine.engine import run_loop
from prefect_imagine.engine.session import Session
from prefect_imagine.engine.stages import waves
from prefect_imagine.sandbox import RateLimit, RunningSandbox
from prefect_imagine.stores import Store
from tests.engine.engine_runs import Runs, numbered

PROVIDER = "aivisualstudio"


@pytest.fixture
async def session(
    sandbox: RunningSandbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Session]:
    """Of a batch of one large wave, at a provider that takes its time."""
    monkeypatch.setattr(waves, "WAVES", 1)
    sandbox.configure(rate_limits={PROVIDER: RateLimit()}, server_delay_seconds=0.6)
    runs = Runs(sandbox, store)
    async with runs.session(numbered(PROVIDER, 130), rates={PROVIDER: "500/1s"}) as opened:
        yield opened
        runs.check()


async def test_a_large_wave_leaves_connections_to_reads(session: Session) -> None:
    sending = session.runs[PROVIDER].admission.sending
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(sending))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await run_loop.run_session(session)
    watching.cancel()
    await session.close_books()
    assert 16 < most <= 40


class TwoWaves:
    """Does nothing but what it is told to until two waves of creates are under way together."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._together = asyncio.Barrier(2)

    async def create(self, provider: str, items: list[int]) -> object:
        async with asyncio.timeout(60):
            await self._together.wait()
        return await self._session.create(provider, items)

    async def poll(self, provider: str) -> None:
        await self._session.poll(provider)

    async def store_outputs(self, provider: str, items: list[int]) -> object:
        return await self._session.store_outputs(provider, items)


async def test_a_large_wave_begins_while_another_is_ending(
    sandbox: RunningSandbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waves, "WAVES", 2)
    runs = Runs(sandbox, store)
    async with runs.session(numbered(PROVIDER, 40)) as opened:
        await run_loop.run_session(opened, TwoWaves(opened))
        await opened.close_books()
    runs.check()
