"""One process that runs a batch, taken apart: each stage moves only when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, cast

from prefect_imagine.batches.blocking import Offload
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.batches.process_identity import Owner
from prefect_imagine.batches.records import Claim
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.budget import Budget
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.create_stage import Creator
from prefect_imagine.engine.identity import EchoClass
from prefect_imagine.engine.other_batches import Neighbours
from prefect_imagine.engine.poll_stage import Watcher
from prefect_imagine.engine.provider_run import Lane
from prefect_imagine.engine.reconciler import Settler
from prefect_imagine.engine.session import _amend
from prefect_imagine.engine.store_stage import Storer
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.stores import Downloader, Store
from tests.engine.fake_provider import FakeClient, FakeProvider

TIMING = Timing(deadline=10, create=50, settle=30)


class Process:
    """A lane with its stages over a fake provider. Dropped without closing, it has crashed."""

    def __init__(
        self, journal: Journal, lane: Lane, client: FakeClient, storer: Storer, offload: Offload
    ) -> None:
        self.journal = journal
        self.lane = lane
        self.client = client
        self.creator = Creator(lane)
        self._watcher = Watcher(lane, offload)
        self._settler = Settler(lane, offload)
        self._storer = storer

    @classmethod
    async def start(
        cls,
        store: Store,
        offload: Offload,
        plan: Plan,
        server: FakeProvider,
        downloader: Downloader,
        *,
        correlates: bool = False,
        options: BatchOptions | None = None,
    ) -> Self:
        """Take the batch over."""
        options = options or BatchOptions(timing=TIMING)
        write_plan(store, plan)
        owner = Owner.me()
        claim = Claim(owner=owner.token, host=owner.host, at=utc_now())
        journal = await Journal.open(store, offload, plan.batch_id, claim)
        await _amend(plan, journal, options, journal.state, "")
        client = FakeClient(server, correlates=correlates)

        def neighbours(echo: Callable[[BatchItem], EchoClass]) -> Neighbours:
            return Neighbours(store, plan.batch_id, echo)

        known = cast(ProviderClient, client)  # for as much of it as a lane needs
        lane = Lane(client.provider, known, plan, journal, Budget(None, {}), options, neighbours)
        storer = Storer(lane, store, downloader, offload)
        return cls(journal, lane, client, storer, offload)

    def creatable(self) -> list[int]:
        """Items that a wave would create now, none of them held back by an open attempt of its class."""
        held = {attempt.echo for attempt in self.lane.open.values()}
        return [index for index in self.lane.todo if self.lane.echo(self.lane.plan.item(index)) not in held]

    async def create(self, *items: int) -> None:
        """A wave."""
        for index in items:
            if index in self.lane.todo:
                self.lane.todo.remove(index)
        await self.creator.wave(items)

    async def look_back(self) -> None:
        """One look at the history for open attempts."""
        await self._settler.settle()

    @property
    def next_read(self) -> float:
        """When the history would be read again."""
        return self._settler.next_read

    async def look(self) -> None:
        """One look at what is under way, and the store of what has ended."""
        if self.lane.flying:
            await self._watcher.look()
        ready = [self.lane.ready.popleft() for _ in range(len(self.lane.ready))]
        await self._storer.wave(ready)

    @property
    def phases(self) -> list[Phase]:
        """Where each item stands."""
        return [self.journal.state[item.index].phase for item in self.lane.items]
