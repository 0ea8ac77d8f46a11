"""A provider, a store, and processes that come and go, in a time that tests move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.plan import Plan
from prefect_imagine.engine.sharing.looks import looks_of
from prefect_imagine.stores import Downloader
from tests.batches.memory_store import InterferedStore
from tests.engine.fake_provider import FakeProvider, Time, moved_time
from tests.engine.one_process import Process


class World:
    """A store, a provider, and processes that come and go."""

    def __init__(self, time: Time, blocking: Blocking, downloader: Downloader) -> None:
        self.time = time
        self.store = InterferedStore()
        self.server = FakeProvider()
        self._blocking = blocking
        self._downloader = downloader

    async def process(
        self, plan: Plan, *, correlates: bool = False, shares: bool = False, collects: bool = False
    ) -> Process:
        """A process that takes the batch over, or one of its shards.

        Args:
            shares: whether it shares looks with others.
            collects: whether it only takes in what has come of jobs.
        """
        return await Process.start(
            self.store,
            self._blocking,
            plan,
            self.server,
            self._downloader,
            correlates=correlates,
            looks=looks_of(self.store, self._blocking, "fake-key" if shares else None),
            collects=collects,
        )

    async def finish(self, process: Process, rounds: int = 20) -> None:
        """Look, create and store until there is nothing left to do."""
        for _ in range(rounds):
            await process.look_back()
            if process.creatable():
                await process.create(*process.creatable())
            self.time.now += 10
            await process.look()


@pytest.fixture
def world() -> Iterator[World]:
    blocking = Blocking(patience=5.0, transfers=2)
    downloader = Downloader()
    with moved_time() as time:
        yield World(time, blocking, downloader)
    downloader.close()
    blocking.close()
