"""One process that runs a batch, taken apart: each stage moves only when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.records import Claim
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.credit_limit import CreditLimit
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.books import RunBooks, ShardStanding
from prefect_imagine.engine.budgets.run_budgets import RunBudgets
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.other_batches import OtherBatches
from prefect_imagine.engine.open_shards import OpenShard, OpenShards
from prefect_imagine.engine.planning.again import Again
from prefect_imagine.engine.planning.difference import UNCHANGED, Difference
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.shards.wishes import Wishes, record_wishes
from prefect_imagine.engine.sharing.looks import ALONE, Looks
from prefect_imagine.engine.stages.create import CreateStage
from prefect_imagine.engine.stages.poll import PollStage
from prefect_imagine.engine.stages.reconcile import Reconciler
from prefect_imagine.engine.stages.store import StoreStage
from prefect_imagine.providers.models import Generation
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.stores import Downloader, Store
from tests.engine.fake_provider import FakeClient, FakeProvider

TIMING = Timing(deadline=10, create=50, settle=30)
AT_ONCE = Pauses(after_failure=lambda attempt: 0.0)


class Process:
    """A run with its stages over a fake provider. Dropped without closing, it has crashed."""

    def __init__(
        self,
        journal: Journal,
        items: list[BatchItem],
        run: ProviderRun,
        client: FakeClient,
        storer: StoreStage,
        blocking: Blocking,
        looks: Looks = ALONE,
    ) -> None:
        self.journal = journal
        self.items = items
        self.run = run
        self.client = client
        self.creator = CreateStage(run)
        self._watcher = PollStage(run, blocking, looks)
        self._reconciler = Reconciler(run, blocking)
        self._storer = storer

    @classmethod
    async def start(
        cls,
        store: Store,
        blocking: Blocking,
        plan: Plan,
        server: FakeProvider,
        downloader: Downloader,
        *,
        correlates: bool = False,
        options: BatchOptions | None = None,
        further: Sequence[Plan] = (),
        difference: Difference = UNCHANGED,
        looks: Looks = ALONE,
        collects: bool = False,
    ) -> Self:
        """Take the batch over: its first shard, and further ones.

        Args:
            collects: whether it only takes in what has come of jobs.
        """
        options = options or BatchOptions(timing=TIMING)
        owner = ProcessIdentity.me()
        claim = Claim(owner=owner.token, host=owner.host, at=utc_now())
        opened = []
        for each in (plan, *further):
            write_plan(store, each)
            journal = await Journal.open(store, blocking, each.path, claim)
            opened.append(OpenShard(each, journal))
            seen = dict(journal.state.items)
            await record_wishes(opened[-1], Wishes(Again(options), difference, seen=seen))
        client = FakeClient(server, correlates=correlates)

        def other_batches(identity: Callable[[BatchItem], RequestIdentity]) -> OtherBatches:
            return OtherBatches(store, plan.batch_id, identity, lambda: shards.numbers)

        known = cast(ProviderClient, client)  # for as much of it as a run needs
        shards = OpenShards(difference.gone)
        books = RunBooks(
            plan.batch_id, {}, CreditLimit(None, {}), RunBudgets(store, blocking, shards), {}, {}
        )
        for shard in opened:
            shards.add(shard)
            books.open(shard, ShardStanding.of(shard.view))
        run = ProviderRun(
            client.provider,
            known,
            plan.batch_id,
            shards,
            books,
            options,
            other_batches,
            create=not collects,
            lingers=not collects,
            pauses=AT_ONCE,
        )
        own = (item for shard in opened for item, _ in shard.view.standings())
        items = [item for item in own if item.request.provider == client.provider]
        for item in items:
            run.load(item)
        storer = StoreStage(run, store, downloader, blocking)
        return cls(opened[0].journal, items, run, client, storer, blocking, looks)

    def creatable(self) -> list[int]:
        """Items that a wave would create now, none of them held back by an open attempt of its class."""
        return [index for index in self.run.queues.to_create if self._admits(self.run.shards.item(index))]

    def _admits(self, item: BatchItem) -> bool:
        admitted = self.run.admission.acquire(item)
        if admitted:
            self.run.admission.release(item)
        return admitted

    async def create(self, *items: int) -> None:
        """A wave."""
        for index in items:
            if index in self.run.queues.to_create:
                self.run.queues.to_create.remove(index)
        await self.creator.wave(items)

    async def look_back(self) -> None:
        """One look at the history for open attempts."""
        await self._reconciler.reconcile()

    @property
    def next_read(self) -> float:
        """When the history would be read again."""
        return self._reconciler.next_read

    async def look(self) -> None:
        """One look at what is under way, and the store of what has ended."""
        if self.run.queues.running:
            await self._watcher.look()
        ready = [self.run.queues.to_store.popleft() for _ in range(len(self.run.queues.to_store))]
        await self._storer.wave(ready)

    async def take_in(self, rows: Mapping[str, Generation]) -> None:
        """Take in what has come of jobs, and follow nothing beyond that."""
        self.run.arrivals.bring(rows)
        await self._watcher.run()

    @property
    def phases(self) -> list[Phase]:
        """Where each item stands."""
        return [self.run.state(item.index).phase for item in self.items]
