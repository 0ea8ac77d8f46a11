"""What receivers have taken in, and how late: `.imagine/deliveries.json`.

It is no part of their sign of life, because who knows no counts must still be able to read that. Receivers
add to it about twice a minute, by compare-and-swap, so that several count together and one that begins anew
goes on; one that is killed takes what it counted since then with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from uuid import uuid4

from pydantic import ConfigDict, Field, ValidationError

from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store
from prefect_imagine.stores.change import change_object

COUNTS = ".imagine/deliveries.json"
LAG_BUCKETS = (1, 2, 5, 10, 30, 60, 300, 900, 3600)
"""Seconds from a job's end to its delivery at most."""


class Lag(Frozen):
    """How long deliveries took.

    Attributes:
        seconds: how many took so long, by `LAG_BUCKETS`, and how many longer; each is in one of them.
        total_seconds: how long all of them took together.
    """

    seconds: tuple[int, ...] = (0,) * (len(LAG_BUCKETS) + 1)
    total_seconds: float = 0.0

    def __add__(self, other: Lag) -> Lag:
        """Both together."""
        seconds = tuple(map(sum, zip(self.seconds, other.seconds, strict=True)))
        return Lag(seconds=seconds, total_seconds=round(self.total_seconds + other.total_seconds, 3))

    @classmethod
    def of(cls, seconds: float) -> Lag:
        """That of one delivery."""
        took = max(0.0, seconds)
        place = bisect_left(LAG_BUCKETS, took)
        return cls(
            seconds=tuple(int(each == place) for each in range(len(LAG_BUCKETS) + 1)), total_seconds=took
        )


class DeliveryCounts(Frozen):
    """What was delivered, ever.

    Attributes:
        outcomes: by provider, how many deliveries came to what; the provider is empty where nobody has such
            a name.
        lags: by provider, from the end of a job, as its record tells it, to its receipt.
        write: tells this object from what others have written, though they counted the same.
    """

    model_config = ConfigDict(extra="ignore")

    outcomes: Mapping[str, Mapping[str, int]] = Field(default_factory=dict)
    lags: Mapping[str, Lag] = Field(default_factory=dict)
    write: str = ""

    def __add__(self, other: DeliveryCounts) -> DeliveryCounts:
        """Both together."""
        return DeliveryCounts(
            outcomes={
                name: Counter(self.outcomes.get(name, {})) + Counter(other.outcomes.get(name, {}))
                for name in {**self.outcomes, **other.outcomes}
            },
            lags={
                name: self.lags.get(name, Lag()) + other.lags.get(name, Lag())
                for name in {**self.lags, **other.lags}
            },
        )

    @classmethod
    def of(cls, provider: str, outcome: str) -> DeliveryCounts:
        """That of one delivery."""
        return cls(outcomes={provider: {outcome: 1}})

    @classmethod
    def of_lag(cls, provider: str, seconds: float) -> DeliveryCounts:
        """The lag of one delivery."""
        return cls(lags={provider: Lag.of(seconds)})


def read_delivery_counts(store: Store) -> DeliveryCounts:
    """What receivers have taken in. Raises `StoreError`."""
    return _parsed(store.read(COUNTS))


def add_delivery_counts(store: Store, more: DeliveryCounts) -> None:
    """Add what a receiver has taken in; others may do so at the same time. Raises `StoreError`."""

    def added(data: bytes | None) -> bytes:
        total = (_parsed(data) + more).model_copy(update={"write": uuid4().hex})
        return total.model_dump_json().encode()

    change_object(store, COUNTS, added)


def _parsed(data: bytes | None) -> DeliveryCounts:
    try:
        return DeliveryCounts.model_validate_json(data or b"{}")
    except ValidationError:
        return DeliveryCounts()
