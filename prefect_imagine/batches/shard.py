"""A shard as it stands: what it is to create, and what has become of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, ItemState


class Way(NamedTuple):
    """An item as it was, or is, created in one of its ways.

    Attributes:
        item: with the request and the estimate of that way.
        state: where it stands in that way, or stood when it was given up there.
        present: whether it is the way in which it is created now.
    """

    item: BatchItem
    state: ItemState
    present: bool = True


def ways(item: BatchItem, state: ItemState) -> Iterator[Way]:
    """All ways in which creates of an item were sent, in order, and the present one: each with its own
    provider, price and jobs."""
    for each in state.earlier:
        yield Way(item.by(each.alternative), each, present=False)
    yield Way(item.by(state.alternative), state)


@dataclass(frozen=True)
class Shard:
    """A shard as it stands."""

    plan: Plan
    state: BatchState

    def item(self, index: int) -> BatchItem:
        """The item with this index, as it is created now."""
        return standing(self.plan.item(index), self.state)

    def ways(self) -> Iterator[Way]:
        """All ways in which creates of its items were sent, and the present one of each."""
        for item in self.plan.items:
            yield from ways(item, self.state[item.index])

    def standings(self) -> list[tuple[BatchItem, ItemState]]:
        """Its items, in order, as each is created now, with where it stands."""
        return [(standing(item, self.state), self.state[item.index]) for item in self.plan.items]


def standing(item: BatchItem, state: BatchState) -> BatchItem:
    """An item as it is created now."""
    return item.by(state[item.index].alternative) if item.alternatives else item
