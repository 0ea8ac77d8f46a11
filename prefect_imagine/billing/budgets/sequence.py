"""The holdings of a period as a sequence of objects, each written only if it is absent:

    .imagine/budgets/<key>/<period>/<n>.json

Whoever writes object n has read object n-1, and nobody else writes n: so each change is made to what all
others have changed before. Old objects are removed, but the last ones stay: whoever wrote in the place of a
removed one, because it slept, finds a later one and knows that its own counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import uuid4

from pydantic import ValidationError

from prefect_imagine.billing.budgets.holdings import NOTHING, Holdings
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

ROOT = ".imagine/budgets/"
KEPT = 64
"""Objects of a sequence that stay."""


def read_holdings(store: Store, budget: str, period: str, known: Holdings = NOTHING) -> Holdings:
    """What all hold by now; nothing where nobody holds anything. Raises `StoreError`.

    Args:
        known: what was read before: it is given back where nothing has come since.
    """
    folder = _folder(budget, period)
    last = None
    for found in store.list(folder, after=_key(folder, known.seq) if known.seq else None):
        last = found.key
    if last is None:
        return known
    new = _read(store, last)
    _ = new.sums, new.active
    return new


def write_holdings(
    store: Store, budget: str, period: str, known: Holdings, changed: Holdings, at: datetime
) -> Holdings | None:
    """Write what has become of the holdings that are known; `None` where somebody else has changed them
    meanwhile, and this change was not made. Raises `StoreError`."""
    folder = _folder(budget, period)
    new = changed.model_copy(
        update={"seq": known.seq + 1, "write": uuid4().hex, "after": known.write, "at": at}
    )
    _ = new.sums, new.active
    key, data = _key(folder, new.seq), new.model_dump_json(exclude_defaults=True).encode()
    # A write that the store's client repeated has met itself.
    if not store.put_new(key, data, "application/json") and store.read(key) != data:
        return None
    if not _follows(store, folder, new):
        store.delete(key)
        return None
    if new.seq > KEPT:
        store.delete(_key(folder, new.seq - KEPT))
    return new


def _follows(store: Store, folder: str, written: Holdings) -> bool:
    """Whether what was written is part of the sequence, and not in the place of what was removed long ago."""
    later = next(iter(store.list(folder, after=_key(folder, written.seq))), None)
    return later is None or _read(store, later.key).after == written.write


def periods_of(store: Store, budget: str) -> Iterator[str]:
    """The periods in which somebody has held something, ascending. Raises `StoreError`."""
    return store.folders(_folder(budget, "").rstrip("/"))


def _read(store: Store, key: str) -> Holdings:
    data = store.read(key)
    try:
        return Holdings.model_validate_json(data or b"")
    except ValidationError as error:
        raise StoreError(f"{store.address}/{key} cannot be read", retryable=data is None) from error


def _folder(budget: str, period: str) -> str:
    return f"{ROOT}{budget}/{period}/" if period else f"{ROOT}{budget}/"


def _key(folder: str, seq: int) -> str:
    return f"{folder}{seq:010d}.json"
