"""A shard as it stands: what it is to create, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, ItemState


@dataclass(frozen=True)
class Shard:
    """A shard as it stands."""

    plan: Plan
    state: BatchState

    def standings(self) -> list[tuple[BatchItem, ItemState]]:
        """Its items, in order, with where each stands."""
        return [(item, self.state[item.index]) for item in self.plan.items]
