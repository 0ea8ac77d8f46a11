"""The batches under one root: which there are, which are active, and when the settled ones created last.

    .imagine/index.json                   this root has an index
    .imagine/active/<batch>~<holder>      put before a holder's first intent, gone once its batch is settled
    .imagine/settled/<time>~<batch>       put before that; the time is that of the batch's last create

So a look at what may concern a moment costs by what is active and by what was settled since, whatever else
lies under the root. A root without an index, as the first edition made
them, is looked through folder by folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from prefect_imagine.batches.reading import folder, possible_batches
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

DAY = 24 * 3600.0
INDEX = ".imagine/index.json"
ACTIVE = ".imagine/active/"
SETTLED = ".imagine/settled/"
BY_INDEX = "index"
"""The holder that stands for whoever ran a batch before its root had an index."""
_TIME = "%Y%m%dT%H%M%S"


def is_indexed(store: Store) -> bool:
    """Whether a root has an index. Raises `StoreError`."""
    return store.head(INDEX) is not None


def ensure_index(store: Store) -> None:
    """Give a root an index, in which what lies there already counts as active until somebody has looked.
    Raises `StoreError`."""
    if is_indexed(store):
        return
    for name in possible_batches(store):
        store.put_new(_active_key(name, BY_INDEX), b"")
    store.put_new(INDEX, b'{"format":1}', "application/json")


class Marker:
    """One holder's mark that a batch is active. Each holder has its own: what one of them removes late, after
    another has taken over, is never the other's."""

    def __init__(self, store: Store, batch_id: str, holder: str) -> None:
        self._store = store
        self._batch_id = batch_id
        self._key = _active_key(batch_id, holder)
        self._before: list[str] = []

    def put(self) -> None:
        """Mark the batch, before its journal is claimed. Raises `StoreError`."""
        ensure_index(self._store)
        self._before = [found.key for found in self._store.list(_active_key(self._batch_id, ""))]
        self._store.put_new(self._key, b"")

    def remove_earlier(self) -> None:
        """Remove the marks of earlier holders, once the journal is ours: they write no more. Raises
        `StoreError`."""
        for key in self._before:
            if key != self._key:
                self._store.delete(key)
        self._before.clear()

    def settle(self, last_create: datetime) -> None:
        """Say that the batch is settled, its last create having been at this time; its settlement has been
        written. An earlier entry stays: it leads to the same settlement. Raises `StoreError`."""
        put_settled(self._store, self._batch_id, last_create)
        self._store.delete(self._key)


def put_settled(store: Store, batch_id: str, last_create: datetime) -> None:
    """List a batch among the settled ones. Raises `StoreError`."""
    store.put_new(_settled_key(batch_id, last_create), b"")


def forget_left(store: Store, batch_id: str) -> None:
    """Remove the marks, of a batch that is settled or none, whose holders are gone: the index's own, and
    those of a day ago. Raises `StoreError`."""
    for found in list(store.list(_active_key(batch_id, ""))):
        if found.key == _active_key(batch_id, BY_INDEX) or store.now() - found.modified > DAY:
            store.delete(found.key)


def active_batches(store: Store) -> list[str]:
    """The batches that are marked as active, ascending. Raises `StoreError`."""
    names = (found.key.removeprefix(ACTIVE).rpartition("~")[0] for found in store.list(ACTIVE))
    return sorted(set(filter(None, names)))


def settled_batches(store: Store, since: datetime | None = None) -> list[str]:
    """The batches that are settled and have created something since then, ascending. Raises `StoreError`."""
    after = None if since is None else f"{SETTLED}{since.astimezone(UTC):{_TIME}}"
    names = (found.key.removeprefix(SETTLED).partition("~")[2] for found in store.list(SETTLED, after=after))
    return sorted(set(filter(None, names)))


def batches_since(store: Store, since: datetime) -> list[str]:
    """The batches that are active or have created something since then, ascending; of a root without an
    index, those that were written to since, by the store's own clock. Raises `StoreError`."""
    if not is_indexed(store):
        return list(batches_under(store, since.timestamp()))
    # In this order: a batch is listed as settled before its mark is removed.
    active = active_batches(store)
    return sorted({*active, *settled_batches(store, since)})


def unsettled_batches(store: Store, since: float) -> Iterator[str]:
    """The batches that may not be settled and were written to since then (epoch seconds, by the store's own
    clock), ascending. Raises `StoreError`."""
    names = active_batches(store) if is_indexed(store) else list(possible_batches(store))
    return (name for name in names if (written := _written(store, name)) is not None and written >= since)


def batches_under(store: Store, since: float | None = None) -> Iterator[str]:
    """The ids of the batches under a root, ascending; only those that were written to since then (epoch
    seconds, by the store's own clock). Raises `StoreError`."""
    for name in possible_batches(store):
        written = _written(store, name)
        if written is not None and (since is None or written >= since):
            yield name


def leave_out(batch_id: str, error: StoreError) -> None:
    """Report a batch that cannot be read; raise the error where the store itself fails."""
    if error.retryable:
        raise error
    logger.warning("batch %s cannot be read and is left out: %s", batch_id, error)


def _written(store: Store, batch_id: str) -> float | None:
    """When a batch was last written to; `None` where there is none, or none that can be read."""
    try:
        return max((found.modified for found in store.list(folder(batch_id))), default=None)
    except StoreError as error:
        leave_out(batch_id, error)
        return None


def _active_key(batch_id: str, holder: str) -> str:
    return f"{ACTIVE}{batch_id}~{holder}"


def _settled_key(batch_id: str, moment: datetime) -> str:
    return f"{SETTLED}{moment.astimezone(UTC):{_TIME}}~{batch_id}"
