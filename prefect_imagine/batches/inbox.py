"""Deliveries of webhooks, until whoever follows their jobs has taken them in.

    .imagine/inbox/<batch>~<provider>~<hash of the job's id>.json    put before the delivery is answered
    .imagine/inbox/receiver.json                                     says that a receiver lives

A receiver puts, whoever runs or collects the batch takes in and removes. The same delivery twice is one
object; one that comes again later is removed again. Losing any of it costs a look at the provider, no more.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from pydantic import Field, ValidationError

from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

INBOX = ".imagine/inbox/"
RECEIVER = f"{INBOX}receiver.json"
BEAT_SECONDS = 30.0
"""From one sign of life of a receiver to the next."""
SILENT_SECONDS = 4 * BEAT_SECONDS
"""Without one for so long, by the store's clock, a receiver counts as gone."""
READ_AT_ONCE = 500
LARGEST_BODY = 1024 * 1024
"""Bytes of a delivery."""


class Delivery(Frozen):
    """What a provider has said of a job.

    Attributes:
        provider: its name.
        job: the provider's id of it.
        at: when it was received.
        record: the job's record as the delivery holds it, where a signature shows that it is the provider's
            own; without one a delivery is only a reason to ask.
    """

    provider: str
    job: str
    at: datetime
    record: dict[str, Any] | None = None


class ReceiverState(Frozen):
    """What a receiver says of itself.

    Attributes:
        at: when it said so.
        delivered: when each provider has last delivered what was accepted.
    """

    at: datetime
    delivered: Mapping[str, datetime] = Field(default_factory=dict)


def delivery_key(batch_id: str, provider: str, job: str) -> str:
    """Where what is said of a job waits."""
    return f"{_prefix(batch_id)}{provider}~{hashlib.sha256(job.encode()).hexdigest()[:32]}.json"


def put_delivery(store: Store, batch_id: str, delivery: Delivery) -> bool:
    """Make a delivery durable, and say whether it is a new one. Raises `StoreError`."""
    key = delivery_key(batch_id, delivery.provider, delivery.job)
    return store.put_new(key, delivery.model_dump_json().encode(), "application/json")


def read_inbox(store: Store, batch_id: str, known: Collection[str] = ()) -> dict[str, Delivery]:
    """What waits for a batch, by key: some at once of those that are not known yet. Raises `StoreError`."""
    keys = (found.key for found in store.list(_prefix(batch_id)) if found.key not in known)
    found: dict[str, Delivery] = {}
    for key in list(islice(keys, READ_AT_ONCE)):
        data = store.read(key)
        if data is None:
            continue
        try:
            found[key] = Delivery.model_validate_json(data)
        except ValidationError:
            logger.warning("%s is no delivery and is removed", key)
            store.delete(key)
    return found


def delivered_batches(store: Store) -> set[str]:
    """The batches for which something waits. Raises `StoreError`."""
    names = (found.key.removeprefix(INBOX).partition("~") for found in store.list(INBOX))
    return {batch_id for batch_id, mark, _ in names if mark}


def remove_deliveries(store: Store, keys: Collection[str]) -> None:
    """Remove what has been taken in. Raises `StoreError`."""
    for key in keys:
        store.delete(key)


def remove_all_deliveries(store: Store, batch_id: str) -> None:
    """Remove all that waits for a batch. Raises `StoreError`."""
    remove_deliveries(store, [found.key for found in store.list(_prefix(batch_id))])


def put_receiver(store: Store, state: ReceiverState) -> None:
    """Say that a receiver lives. Raises `StoreError`."""
    store.put(RECEIVER, state.model_dump_json().encode(), "application/json")


def read_receiver(store: Store) -> ReceiverState | None:
    """The receiver that lives under a root; `None` where none does. Raises `StoreError`."""
    found = store.head(RECEIVER)
    if found is None or store.now() - found.modified > SILENT_SECONDS:
        return None
    try:
        return ReceiverState.model_validate_json(store.read(RECEIVER) or b"")
    except ValidationError:
        return None  # of another version: it is none that this one could hear


def receiver_seen_at(store: Store) -> float | None:
    """When a receiver last said that it lives, by the store's clock (epoch seconds), however long ago; `None`
    where none ever did. Raises `StoreError`."""
    found = store.head(RECEIVER)
    return None if found is None else found.modified


def _prefix(batch_id: str) -> str:
    return f"{INBOX}{batch_id}~"
