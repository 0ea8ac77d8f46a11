"""Which batch it is that has a name: one that was deleted may have been made again under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prefect_imagine.batches.origin import read_origin
from prefect_imagine.batches.plan import read_planned_at
from prefect_imagine.stores import Store


@dataclass(frozen=True)
class Made:
    """When a batch was made, which copies and moves of it keep.

    Attributes:
        created: as its origin says.
        planned: when it was first planned, where it was met without an origin.
    """

    created: datetime | None = None
    planned: datetime | None = None


def read_made(store: Store, name: str, known: Made | None) -> Made | None:
    """When the batch of this name was made; `None` where there is none. Raises `StoreError`.

    Args:
        known: the answer of before, which is given again where it is still that batch.
    """
    origin = read_origin(store, name)
    if origin is not None and (known is None or known.planned is None):
        return Made(created=origin.created)
    planned = read_planned_at(store, name)
    # One of the first edition gets an origin when it is amended, and a deletion may begin with the origin.
    if planned is not None and known is not None and known.planned in (planned, None):
        return known
    if origin is not None:
        return Made(created=origin.created)
    return Made(planned=planned) if planned is not None else None
