"""A shard that is not settled: its figures, kept up by reading on in its journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.reading import Reading, read_on
from prefect_imagine.batches.records import ItemRecord
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.costs import Place
from prefect_imagine.billing.root import Unsettled
from prefect_imagine.metrics.figures import Figures
from prefect_imagine.stores import Store

UNFINISHED: tuple[Place, ...] = ("planned", "open", "under_way")


class FollowedShard:
    """A shard that is read on at each look, which costs one read where nothing is new."""

    def __init__(self, found: Unsettled) -> None:
        self.figures = Figures()
        self._plan = found.plan
        self._reading = Reading(found.state, found.seq, damaged=["before it was followed"] * found.damaged)
        self._counted: dict[int, ItemState] = {}
        self._under_way: dict[int, ItemState] = {}
        self._count(found.plan.items)

    @property
    def seq(self) -> int:
        """The last segment that was read."""
        return self._reading.seq

    @property
    def damaged(self) -> bool:
        """Whether some of its journal could not be read."""
        return bool(self._reading.damaged)

    @property
    def unfinished(self) -> bool:
        """Whether something of it may still become anything by itself."""
        return any(figures.places[place] for _, figures in self.figures for place in UNFINISHED)

    def read_on(self, store: Store) -> None:
        """Take in what has been written since. Raises `StoreError`, after what could be read is taken in."""
        try:
            entries = read_on(store, self._plan.path, self._reading)
        except BaseException:
            self._count(self._plan.items)
            raise
        changed = {entry.item for entry in entries if isinstance(entry, ItemRecord)}
        self._count(self._plan.item(index) for index in changed if index in self._plan.indices)

    def _count(self, items: Iterable[BatchItem]) -> None:
        for item in items:
            state, known = self._reading.state[item.index], self._counted.get(item.index)
            if state is known:
                continue
            self.figures.update(item, state, known)
            self._counted[item.index] = state
            if state.phase in (Phase.OPEN, Phase.CREATED):
                self._under_way[item.index] = state
            else:
                self._under_way.pop(item.index, None)

    def under_way(self) -> Iterator[tuple[BatchItem, Phase, datetime]]:
        """The items whose create (`OPEN`) or job (`CREATED`) has not been answered, and since when."""
        for index, state in self._under_way.items():
            if state.intent_at is not None:
                yield self._plan.item(index).by(state.alternative), state.phase, state.intent_at
