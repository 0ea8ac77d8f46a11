"""What generations came to, and how long they took, by model: sums that only grow."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import ways
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.costs import model_name
from prefect_imagine.providers.models import Frozen

BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Seconds that a generation takes at most, from the creation of its job to its end."""


class Outcomes(Frozen):
    """What the generations of one model came to. None of it ever becomes less: a failure counts also where
    the item was created again, or withdrawn.

    Attributes:
        name: `provider/kind/model`.
        stored: how many are in the store.
        failed: how many failed for good, or were refused, by reason.
        seconds: of those that are stored, how many took so long, by `BUCKETS`, and how many longer. Each is
            in one of them.
        total_seconds: how long those took together.
        last_stored: when the last one was stored.
    """

    name: str
    stored: int = 0
    failed: dict[str, int] = {}  # noqa: RUF012 pydantic copies it
    seconds: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total_seconds: float = 0.0
    last_stored: datetime | None = None


@dataclass
class _Sums:
    stored: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total_seconds: float = 0.0
    last_stored: datetime | None = None

    def count(self, state: ItemState, known: ItemState) -> None:
        """Count what has become of an item since it was known to stand so."""
        self.failed.update(_failures(state) - _failures(known))
        if state.phase is Phase.STORED and known.phase is not Phase.STORED:
            self.stored += 1
            self._was_stored(state.stored_at)
            if state.created_at is not None and state.finished_at is not None:
                took = max(0.0, (state.finished_at - state.created_at).total_seconds())
                self.seconds[bisect_left(BUCKETS, took)] += 1
                self.total_seconds += took

    def include(self, other: Outcomes) -> None:
        self.stored += other.stored
        self.failed.update(other.failed)
        self.seconds = [sum(both) for both in zip(self.seconds, other.seconds, strict=True)]
        self.total_seconds += other.total_seconds
        self._was_stored(other.last_stored)

    def _was_stored(self, at: datetime | None) -> None:
        if at is not None:
            self.last_stored = at if self.last_stored is None else max(self.last_stored, at)


def _failures(state: ItemState) -> Counter[str]:
    stands = state.withdrawn_from if state.phase is Phase.WITHDRAWN else state.phase
    now = (state.reason or "",) if stands is Phase.FAILED else ()
    return Counter((*state.retried, *now))


class OutcomeSums:
    """Adds up what generations came to; a change of one item costs no look at the others."""

    def __init__(self) -> None:
        self._models: dict[str, _Sums] = {}

    def update(self, item: BatchItem, state: ItemState, known: ItemState | None = None) -> None:
        """Take in where an item stands now.

        Args:
            known: where it stood when it was taken in before.
        """
        before = () if known is None else (*known.earlier, known)
        for way, stood in zip_longest(ways(item, state), before):
            self._of(model_name(way.item)).count(way.state, stood or ItemState())

    def include(self, outcomes: Iterable[Outcomes]) -> None:
        """Add what others have added up."""
        for each in outcomes:
            self._of(each.name).include(each)

    @property
    def outcomes(self) -> tuple[Outcomes, ...]:
        """The sums, a model each."""
        return tuple(
            Outcomes(
                name=name,
                stored=sums.stored,
                failed=dict(sums.failed),
                seconds=tuple(sums.seconds),
                total_seconds=round(sums.total_seconds, 3),
                last_stored=sums.last_stored,
            )
            for name, sums in self._models.items()
        )

    def _of(self, name: str) -> _Sums:
        return self._models.setdefault(name, _Sums())
