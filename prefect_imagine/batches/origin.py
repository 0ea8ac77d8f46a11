"""Where a batch comes from: `batch.json`, written before its first plan; the first edition wrote none."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store


class Origin(Frozen):
    """Where a batch comes from.

    Attributes:
        batch_id: the batch.
        source: path or address of the prompts that it was made of; `None` where they came without one.
        items: how many it was to hold at first: with fewer, whoever planned it was interrupted; 0 once
            somebody has gone on with that.
        created: when.
    """

    format: Literal[2] = 2
    batch_id: str
    source: str | None
    items: int = 0
    created: datetime


def _key(batch_id: str) -> str:
    return f"{batch_id}/batch.json"


def write_origin(store: Store, origin: Origin) -> None:
    """Put a batch's origin, unless it has one. Raises `StoreError`."""
    data = origin.model_dump_json().encode()
    store.put_new(_key(origin.batch_id), data, "application/json")


def read_origin(store: Store, batch_id: str) -> Origin | None:
    """A batch's origin; `None` where nothing tells it. Raises `StoreError`."""
    try:
        return Origin.model_validate_json(store.read(_key(batch_id)) or b"")
    except ValidationError:
        return None


def complete_origin(store: Store, batch_id: str) -> None:
    """Say that all is planned of a batch whose first planning was interrupted, however many items it has by
    now. Raises `StoreError`."""
    found = store.read_version(_key(batch_id))
    if found is None:
        return
    try:
        origin = Origin.model_validate_json(found[0])
    except ValidationError:
        return
    whole = origin.model_copy(update={"items": 0}).model_dump_json().encode()
    store.swap(_key(batch_id), whole, found[1])  # somebody else's says the same
