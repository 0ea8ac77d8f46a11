"""What has changed under a root since it was loaded last, shard by shard.

What is remembered is small, and part of every load: of each batch that is not settled, or was settled in the
last days, when it was made and the last segment of each shard that is loaded. Batches that were settled
before are loaded, and cost nothing but their line in the index. One that was made anew under the name of
another is another batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_imagine.batches.index import DAY, RootIndex, Unreadable, check_root, leave_out, read_index
from prefect_imagine.batches.origin import read_origin
from prefect_imagine.batches.plan import Plan, read_plan, read_planned_at
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.billing.attempts import Chronicle, read_chronicle
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.root import shard_books
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store
from prefect_imagine.stores.protocol import StoredObject

REMEMBERED = 7 * DAY
"""Seconds since a batch was settled in which it is known what of it is loaded. One that goes on later is
loaded as a whole once more; clocks of a store's servers differ by less."""


@dataclass(frozen=True)
class ChangedShard:
    """A shard of which something is new.

    Attributes:
        made_at: when its batch was made.
        items: the indices of the items of which something is new.
    """

    made_at: datetime
    plan: Plan
    chronicle: Chronicle
    items: Collection[int]


@dataclass(frozen=True)
class ChangedBatch:
    """A batch of which something is new, after all of its shards.

    Attributes:
        source: path or address of its prompts, where it has one.
        made_at: when it was made.
        settled: whether it is listed as settled.
    """

    batch_id: str
    root: str
    source: str | None
    made_at: datetime
    shards: int
    bill: Bill
    settled: bool


Change = ChangedShard | ChangedBatch
State = dict[str, Any]
"""`root`: its address; `until`: when a batch was settled last, by the store's clock, in epoch seconds;
`batches`: by id, `made` (when it was), `shards` (the last segment that is loaded, by number) and `settled`
(the entry in the index that it had then, and its version, or `None`)."""


def changes(store: Store, state: State, unreadable: Unreadable = leave_out) -> Iterator[Change]:
    """What has changed since the state was saved, which from then on says what is loaded. The dataset is this
    root's as soon as there is a batch.

    Args:
        unreadable: is told of each batch that cannot be read. It is left out, and tried again the next time.

    Raises:
        ConfigurationError: the state is that of another root.
        StoreError: the store itself fails.
    """
    address = state.get("root", store.address)
    if address != store.address:
        raise ConfigurationError(
            f"this dataset holds the batches of {address}: load those of {store.address} into another one"
        )
    yield from _Walk(store, state, unreadable).run()


class _Walk:
    """One look at a root."""

    def __init__(self, store: Store, state: State, unreadable: Unreadable) -> None:
        self._store = store
        self._state = state
        self._unreadable = unreadable
        self._known: dict[str, State] = state.setdefault("batches", {})

    def run(self) -> Iterator[Change]:
        """All changes, batch by batch."""
        index = read_index(self._store)
        if index.unsettled or index.settled:
            self._state["root"] = self._store.address
        elif "root" in self._state:
            check_root(self._store)
        begin = self._state.get("until", float("-inf")) - REMEMBERED
        for batch_id in index.unsettled:
            yield from self._readable(batch_id, None)
        for batch_id in index.settled:
            entry = index.entries[batch_id]
            known = self._known.get(batch_id)
            if known["settled"] != _mark(entry) if known is not None else entry.modified >= begin:
                yield from self._readable(batch_id, _mark(entry))
        self._forget(index)

    def _forget(self, index: RootIndex) -> None:
        """Remember nothing of what is loaded for good, or is gone."""
        entries = {batch_id: index.entries[batch_id] for batch_id in index.settled}
        until = max((each.modified for each in entries.values()), default=float("-inf"))
        if entries:
            self._state["until"] = until
        unsettled = {*index.unsettled}
        for batch_id, known in list(self._known.items()):
            entry = entries.get(batch_id)
            loaded = entry is not None and known["settled"] == _mark(entry)
            gone = entry is None and batch_id not in unsettled
            if gone or (loaded and entry is not None and entry.modified < until - REMEMBERED):
                del self._known[batch_id]

    def _readable(self, batch_id: str, settled: str | None) -> Iterator[Change]:
        try:
            yield from self._batch(batch_id, settled)
        except StoreError as error:
            if error.retryable:
                raise
            self._unreadable(batch_id, error)
            self._known.setdefault(batch_id, {"made": None, "shards": {}, "settled": None})

    def _batch(self, batch_id: str, settled: str | None) -> Iterator[Change]:
        made = read_planned_at(self._store, batch_id)
        if made is None:
            return
        known = self._known.get(batch_id)
        if known is not None and known["made"] != made.isoformat():
            known = None
        numbers = shard_numbers(self._store, batch_id)
        bills: dict[int, Bill] = {}
        for number in numbers:
            found = self._shard(batch_id, made, number, known)
            if found is None:
                continue
            bills[number] = Bill.of(found.plan, found.chronicle.state)
            bills[number].forget_items()
            yield found
            if known is None:
                known = self._known[batch_id] = {"made": made.isoformat(), "shards": {}, "settled": None}
            known["shards"][str(number)] = found.chronicle.seq
        if known is None or not (bills or known["settled"] != settled):
            return
        yield self._changed(batch_id, made, numbers, bills, settled=settled is not None)
        known["settled"] = settled

    def _shard(self, batch_id: str, made: datetime, number: int, known: State | None) -> ChangedShard | None:
        """A shard of which something is new; `None` for any other, and where there is none."""
        path = shard_path(batch_id, number)
        loaded = None if known is None else known["shards"].get(str(number))
        if loaded is not None and self._store.head(segment_key(path, loaded + 1)) is None:
            return None
        plan = read_plan(self._store, batch_id, number)
        if plan is None:
            return None
        chronicle = read_chronicle(self._store, path, loaded or 0)
        return ChangedShard(made, plan, chronicle, plan.indices if loaded is None else chronicle.changed)

    def _changed(
        self,
        batch_id: str,
        made: datetime,
        numbers: Collection[int],
        bills: dict[int, Bill],
        *,
        settled: bool,
    ) -> ChangedBatch:
        for number in numbers:
            books = None if number in bills else shard_books(self._store, batch_id, number)
            if books is not None:
                bills[number] = books.bill
        origin = read_origin(self._store, batch_id)
        return ChangedBatch(
            batch_id=batch_id,
            root=self._store.address,
            source=None if origin is None else origin.source,
            made_at=made,
            shards=len(bills),
            bill=Bill.total(batch_id, bills.values()),
            settled=settled,
        )


def _mark(entry: StoredObject) -> str:
    """What is another one as soon as a batch has settled anew, or another one under its name."""
    return f"{entry.key} {entry.version}"
