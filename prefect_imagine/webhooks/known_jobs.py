"""The jobs that run in the active batches under a root, known by reading on in their journals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.index import active_batches, leave_out
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.batches.reading import Reading, read_journal, read_on
from prefect_imagine.batches.records import (
    Adopted,
    AnyRecord,
    Created,
    Finished,
    Intent,
    ItemRecord,
    Unanswered,
)
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.settlement import read_settlement
from prefect_imagine.clock import boot_seconds
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

MIN_SECONDS = 0.5
"""From one look at the journals to the next."""
SHARDS_SECONDS = 10.0
"""From one look for further shards of a batch to the next."""

JobKey = tuple[str, str]
"""Provider and id."""


@dataclass
class _Shard:
    """What is known of one shard: of each item its provider and, while one runs, its job.

    Attributes:
        others: the providers of an item's alternatives, by index, where it has any.
    """

    batch_id: str
    path: str
    first: int
    providers: list[str]
    seq: int
    others: Mapping[int, tuple[str, ...]]
    jobs: dict[int, str] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def provider(self, index: int) -> str:
        return self.providers[index - self.first]

    def take(self, entry: AnyRecord) -> None:
        if not isinstance(entry, ItemRecord):
            return
        if isinstance(entry, Intent):
            if entry.item in self.others:
                self.providers[entry.item - self.first] = self.others[entry.item][entry.alternative or 0]
            self.open.add(entry.item)
            return
        if isinstance(entry, Unanswered):
            return
        self.open.discard(entry.item)
        if isinstance(entry, Created | Adopted):
            self.jobs[entry.item] = entry.id
        elif isinstance(entry, Finished):
            self.jobs.pop(entry.item, None)


class KnownJobs:
    """Which batch a running job belongs to. Memory goes by what runs, the cost of a look by what is new.

    Args:
        every: seconds from one look at the journals to the next at least.
    """

    def __init__(self, store: Store, blocking: Blocking, every: float = MIN_SECONDS) -> None:
        self._store = store
        self._blocking = blocking
        self._every = every
        self._shards: dict[str, _Shard] = {}
        self._listed: dict[str, float] = {}
        self._by_job: dict[JobKey, str] = {}
        self._looked_at = -every
        self._looking = asyncio.Lock()

    def batch_of(self, provider: str, job: str) -> str | None:
        """The batch of a job, as far as is known."""
        return self._by_job.get((provider, job))

    def may_come(self, provider: str) -> bool:
        """Whether a create of this provider has not been answered yet: its job may be any."""
        return any(
            shard.provider(index) == provider for shard in self._shards.values() for index in shard.open
        )

    async def refresh(self) -> None:
        """Take in what is new in the journals, unless that was done a moment ago. A look goes on when nobody
        waits for it any more: no other may begin beside it. Raises `StoreError`."""
        look = asyncio.ensure_future(self._refresh(boot_seconds()))
        look.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(look)

    async def _refresh(self, asked_at: float) -> None:
        async with self._looking:
            if self._looked_at >= asked_at:
                return  # somebody else's look began after this one was asked for
            await asyncio.sleep(max(0.0, self._looked_at + self._every - boot_seconds()))
            begun = boot_seconds()
            self._by_job = await self._blocking(self._look)
            self._looked_at = begun

    def _look(self) -> dict[JobKey, str]:
        active = active_batches(self._store)
        self._shards = {path: each for path, each in self._shards.items() if each.batch_id in active}
        self._listed = {batch: at for batch, at in self._listed.items() if batch in active}
        for batch_id in sorted(active):
            try:
                self._read(batch_id)
            except StoreError as error:
                leave_out(batch_id, error)
        return {
            (shard.provider(index), job): shard.batch_id
            for shard in self._shards.values()
            for index, job in shard.jobs.items()
        }

    def _read(self, batch_id: str) -> None:
        now = boot_seconds()
        if now >= self._listed.get(batch_id, now) + SHARDS_SECONDS or batch_id not in self._listed:
            for number in shard_numbers(self._store, batch_id):
                self._meet(batch_id, number)
            self._listed[batch_id] = now
        for shard in [each for each in self._shards.values() if each.batch_id == batch_id]:
            reading = Reading(seq=shard.seq)
            for entry in read_on(self._store, shard.path, reading):
                shard.take(entry)
            shard.seq = reading.seq

    def _meet(self, batch_id: str, number: int) -> None:
        path = shard_path(batch_id, number)
        if path in self._shards or read_settlement(self._store, path) is not None:
            return
        plan = read_plan(self._store, batch_id, number)
        if plan is None:
            return
        reading = read_journal(self._store, path)
        state = reading.state
        providers = [item.by(state[item.index].alternative).request.provider for item in plan.items]
        others = {
            item.index: tuple(way.provider for way in item.alternatives)
            for item in plan.items
            if item.alternatives
        }
        shard = _Shard(batch_id, path, plan.indices.start, providers, reading.seq, others)
        for index, known in reading.state.items.items():
            if known.phase is Phase.OPEN:
                shard.open.add(index)
            elif known.phase is Phase.CREATED and known.id:
                shard.jobs[index] = known.id
        self._shards[path] = shard
