"""Which shards of a batch are open: the next one is opened while the last ones come to their end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.index import settle_batch
from prefect_imagine.batches.shard import ways
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.root import NEVER, Settled, shard_books, take_stock
from prefect_imagine.billing.settlement import Settlement, settle, write_settlement
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.books import RunBooks, ShardStanding
from prefect_imagine.engine.open_shards import OpenShard, OpenShards
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.shards.opener import ShardOpener
from prefect_imagine.heap import freeze_heap
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

MAX_OPEN = 8
"""Shards that are open at once."""
MAX_UNFINISHED = 10_000
"""Items of open shards that are not done, beyond which no further shard is opened."""
LOW = 500
"""Items of a provider to be created, below which a further shard is opened."""
LOADED_AT_ONCE = 200
"""Items of a shard that are taken over without letting anything else happen."""


class ShardFeed:
    """Opens the shards of a batch that a run has to visit, in order, and leaves those with which it is done.

    Memory is bounded by what is open, not by the batch: an open shard is held whole, of all others only the
    bill.

    Attributes:
        moved: set whenever something has changed.
        settled: how shards have settled, by number.
    """

    def __init__(
        self,
        prepared: PreparedBatch,
        opener: ShardOpener,
        shards: OpenShards,
        books: RunBooks,
        store: Store,
        blocking: Blocking,
    ) -> None:
        self.moved = asyncio.Event()
        self.settled: dict[int, Settled] = {
            shard.number: shard.settled for shard in prepared.shards if shard.settled is not None
        }
        self._settled_before = _last_create(self.settled) if self.settled else None
        self._batch_id = prepared.batch_id
        self._part = prepared.part
        self._upcoming = deque(shard for shard in prepared.shards if shard.visit)
        self._opener = opener
        self._shards = shards
        self._books = books
        self._store = store
        self._blocking = blocking

    async def feed(self, runs: Mapping[str, ProviderRun]) -> None:
        """Open what is to come until all has come, as those that are open leave room for it."""
        while self._upcoming and not (runs and all(run.gone for run in runs.values())):
            if self._is_wanted(runs.values()):
                await self._leave_idle(runs.values())
                if self._has_room:
                    await self.open_next(runs)
                    continue
            await self.moved.wait()
            self.moved.clear()
        self.end(runs)

    def end(self, runs: Mapping[str, ProviderRun]) -> None:
        """Nothing more comes."""
        self._upcoming.clear()
        for run in runs.values():
            run.shards_to_come = False
            run.wake_up.wake()

    async def open_next(self, runs: Mapping[str, ProviderRun]) -> None:
        """Open the next shard, if there is one, and hand its items to the runs. Raises what the opener
        raises."""
        while self._upcoming:
            shard = self._upcoming.popleft()
            if not (shard.begun or shard.changes or any(run.creates for run in runs.values())):
                continue  # nothing of it is under way, and nothing is created any more
            found = await self._opener.open(
                shard.number, settled_too=shard.changes or shard.settled is not None
            )
            if isinstance(found, OpenShard):
                await self._load(found, runs)
                break
            self._books.carry(shard.number, found.bill)
            self._note(found)
        for run in runs.values():
            run.shards_to_come = bool(self._upcoming)

    async def record_changes(self) -> None:
        """Write down what is withdrawn, restored, or to be created again in all shards that are to come:
        whatever ends this run, nothing is created later that is not asked for any more."""
        for shard in [shard for shard in self._upcoming if shard.changes]:
            found = await self._opener.open(shard.number, settled_too=True)
            assert isinstance(found, OpenShard), "a settled one is opened too"
            self._shards.gone |= found.gone
            try:
                self._books.carry(shard.number, await self._blocking.once(Bill.of, found.plan, found.state))
                if await self.settle(found):
                    self._upcoming.remove(shard)
            finally:
                await found.release()

    async def _load(self, shard: OpenShard, runs: Mapping[str, ProviderRun]) -> None:
        try:
            standing = await self._blocking.once(ShardStanding.of, shard.view)
        except BaseException:
            await shard.release()
            raise
        self._books.open(shard, standing)
        self._shards.add(shard)
        items = shard.plan.items
        for start in range(0, len(items), LOADED_AT_ONCE):
            for item in items[start : start + LOADED_AT_ONCE]:
                for way in ways(item, shard.state[item.index]):
                    run = runs.get(way.item.request.provider)
                    if run is not None and way.present:
                        run.load(way.item)
                    elif run is not None:
                        run.jobs.load(way.item, way.state)
            await asyncio.sleep(0)
        freeze_heap()
        for run in runs.values():
            run.wake_up.wake()

    def _is_wanted(self, runs: Collection[ProviderRun]) -> bool:
        """Whether a provider that takes creates will soon be without any."""
        creating = [run for run in runs if run.creates and run.expected]
        return not creating or any(len(run.queues.to_create) < LOW for run in creating)

    @property
    def _has_room(self) -> bool:
        to_do = sum(self._books.to_do(shard.number) for shard in self._shards)
        return len(self._shards) < MAX_OPEN and to_do < MAX_UNFINISHED

    async def _leave_idle(self, runs: Collection[ProviderRun]) -> None:
        for shard in self._shards:
            if not any(run.busy_with(shard) for run in runs):
                await self.leave(shard, runs)

    async def leave(self, shard: OpenShard, runs: Collection[ProviderRun]) -> None:
        """Hold a shard no longer. From here on nothing of it is written."""
        for run in runs:
            run.forget(shard)
        self._books.close(shard)
        await self._books.budgets.close(shard)
        self._shards.remove(shard.number)
        try:
            await self.settle(shard)
        finally:
            await shard.release()

    async def settle(self, shard: OpenShard) -> bool:
        """Write down how a shard has settled, if it has; and say whether."""
        if shard.journal.damaged or self._opener.fenced.is_set():
            return False
        bill = self._books.bill_of(shard.number)
        settled = await self._blocking.once(
            settle, shard.plan, shard.state, shard.journal.seq, bill, utc_now()
        )
        if settled is not None:
            await self._blocking(write_settlement, self._store, settled)
            self._note(settled)
        return settled is not None

    def _note(self, settled: Settlement) -> None:
        self.settled[settled.shard] = Settled(settled.seq, settled.last_create)

    async def meet_others(self) -> None:
        """Take in the bills of shards that somebody else has planned since this run began, where it is about
        the whole batch."""
        if self._part is not None:
            return
        for number in await self._blocking(shard_numbers, self._store, self._batch_id):
            if not self._books.knows(number):
                found = await self._blocking(shard_books, self._store, self._batch_id, number)
                if found is not None:
                    self._books.carry(number, found.bill)

    async def settle_batch(self) -> bool:
        """Say in the root's index that nothing is left of the batch to look at, if so; and say whether."""
        numbers = await self._blocking(shard_numbers, self._store, self._batch_id)
        for number in [number for number in numbers if number not in self.settled]:
            if self._opener.fenced.is_set() or number in self._shards.numbers:
                return False
            # One whose holder was killed before it said so may have settled.
            books = await self._blocking(take_stock, self._store, self._batch_id, number)
            if isinstance(books, Settlement):
                self._note(books)
            elif books is not None:
                return False
        if self._opener.fenced.is_set():
            return False
        segments = {number: each.seq for number, each in self.settled.items()}
        last, before = _last_create(self.settled), self._settled_before
        await self._blocking(settle_batch, self._store, self._batch_id, last, segments, before)
        return True


def _last_create(settled: Mapping[int, Settled]) -> datetime:
    return max((each.last_create or NEVER for each in settled.values()), default=NEVER)
