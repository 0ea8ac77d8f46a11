"""The shards of a batch that a run has open: where it finds its items, and writes what becomes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.lease import Lease
from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.records import AnyItemRecord, Obeyed
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.state import BatchState, ItemState


class OpenShard:
    """A shard that this process runs.

    Attributes:
        claim: the segment of its journal with which this process has claimed it.
        waves: waves of creates and stores under way that hold items of it.
        gone: items of it that are looked for, and are not to be created.
        doubtful: items of which a damaged journal may have lost in which way they were created: one that
            goes on to another way is looked for there before it is created.
    """

    def __init__(self, plan: Plan, journal: Journal, lease: Lease | None = None) -> None:
        self.plan = plan
        self.journal = journal
        self.lease = lease
        self.claim = journal.seq
        self.waves = 0
        self.gone: frozenset[int] = frozenset()
        self.doubtful: frozenset[int] = frozenset()

    @property
    def number(self) -> int:
        """Its number in the batch."""
        return self.plan.shard

    @property
    def state(self) -> BatchState:
        """Where its items durably stand."""
        return self.journal.state

    def item(self, index: int) -> BatchItem:
        """The item with this index, as it is created now."""
        return self.view.item(index)

    @property
    def view(self) -> Shard:
        """It as it stands."""
        return Shard(self.plan, self.state)

    async def release(self) -> None:
        """Say that this process runs it no longer."""
        if self.lease is not None:
            await self.lease.release()


class OpenShards:
    """The few shards that are open at once. An item of another one cannot be asked for.

    Attributes:
        gone: items that are not asked for any more, and are not to be created again.
    """

    def __init__(self, gone: frozenset[int] = frozenset()) -> None:
        self.gone = gone
        self._open: dict[int, OpenShard] = {}

    def __iter__(self) -> Iterator[OpenShard]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def numbers(self) -> list[int]:
        """Their numbers in the batch."""
        return list(self._open)

    @property
    def views(self) -> dict[int, Shard]:
        """They as they stand, by number."""
        return {number: shard.view for number, shard in self._open.items()}

    def add(self, shard: OpenShard) -> None:
        """One more is open."""
        self._open[shard.number] = shard
        self.gone |= shard.gone

    def remove(self, number: int) -> None:
        """One is open no longer."""
        del self._open[number]

    def of(self, index: int) -> OpenShard:
        """The one that holds an item."""
        for shard in self._open.values():
            if index in shard.plan.indices:
                return shard
        raise KeyError(f"item {index} is in none of the shards that are open")

    def item(self, index: int) -> BatchItem:
        """The item with this index, as it is created now."""
        return self.of(index).item(index)

    def state(self, index: int) -> ItemState:
        """Where an item durably stands."""
        return self.of(index).state[index]

    def enter(self, items: Iterable[int]) -> None:
        """A wave with these items begins."""
        for shard in {self.of(index) for index in items}:
            shard.waves += 1

    def leave(self, items: Iterable[int]) -> None:
        """It has ended."""
        for shard in {self.of(index) for index in items}:
            shard.waves -= 1

    async def append(self, *entries: AnyItemRecord) -> None:
        """Make records durable, each in the journal of its item's shard. Raises `FencedError` or
        `StoreError`."""
        by_shard: dict[int, list[AnyItemRecord]] = defaultdict(list)
        for entry in entries:
            by_shard[self.of(entry.item).number].append(entry)
        for number, those in by_shard.items():
            await self._open[number].journal.append(*those)

    async def note(self, obeyed: Obeyed) -> None:
        """Write into all journals that a command was obeyed. Raises `FencedError` or `StoreError`."""
        for shard in self:
            await shard.journal.append(obeyed)

    async def snapshot(self) -> None:
        """Write down where all items stand, of those shards to which enough has come."""
        for shard in self:
            await shard.journal.snapshot()

    async def flush(self) -> None:
        """Wait until everything appended so far is durable, or cannot be any more."""
        for shard in self:
            await shard.journal.flush()
