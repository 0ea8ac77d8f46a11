"""What has changed under a root since it was loaded last, shard by shard.

What is remembered is small, and part of every load: of each batch that is not settled, or was settled in the
last days, the last segment of each shard that is loaded. Batches that were settled before are loaded, and
cost nothing but their line in the index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_imagine.batches.index import DAY, RootIndex, leave_out, read_index
from prefect_imagine.batches.origin import Origin, read_origin
from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.shards import FIRST, shard_numbers, shard_path
from prefect_imagine.billing.attempts import Chronicle, read_chronicle
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.root import shard_books
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store

REMEMBERED = 7 * DAY
"""Seconds since a batch was settled in which it is known what of it is loaded. One that goes on later is
loaded as a whole once more; clocks of a store's servers differ by less."""


@dataclass(frozen=True)
class ChangedShard:
    """A shard of which something is new.

    Attributes:
        items: the indices of the items of which something is new.
    """

    plan: Plan
    chronicle: Chronicle
    items: Collection[int]


@dataclass(frozen=True)
class ChangedBatch:
    """A batch of which something is new, after all of its shards.

    Attributes:
        source: path or address of its prompts, where it has one.
        created_at: when it was made.
        settled: whether it is listed as settled.
    """

    batch_id: str
    root: str
    source: str | None
    created_at: datetime | None
    shards: int
    bill: Bill
    settled: bool


Change = ChangedShard | ChangedBatch
State = dict[str, Any]
"""`root`: its address; `until`: when a batch was settled last, by the store's clock, in epoch seconds;
`batches`: by id, `shards` (the last segment that is loaded, by number) and `settled` (the version of the
entry in the index that it had then, or `None`)."""


def changes(store: Store, state: State) -> Iterator[Change]:
    """What has changed since the state was saved, which from then on says what is loaded. A damaged batch is
    reported, left out, and tried again the next time.

    Raises:
        ConfigurationError: the state is that of another root.
        StoreError: the store itself fails.
    """
    address = state.setdefault("root", store.address)
    if address != store.address:
        raise ConfigurationError(
            f"this dataset holds the batches of {address}: load those of {store.address} into another one"
        )
    yield from _Walk(store, state).run()


class _Walk:
    """One look at a root."""

    def __init__(self, store: Store, state: State) -> None:
        self._store = store
        self._state = state
        self._known: dict[str, State] = state.setdefault("batches", {})

    def run(self) -> Iterator[Change]:
        """All changes, batch by batch."""
        index = read_index(self._store)
        begin = self._state.get("until", float("-inf")) - REMEMBERED
        for batch_id in index.unsettled:
            yield from self._readable(batch_id, None)
        for batch_id in index.settled:
            entry = index.entries[batch_id]
            known = self._known.get(batch_id)
            if known["settled"] != entry.version if known is not None else entry.modified >= begin:
                yield from self._readable(batch_id, entry.version)
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
            loaded = entry is not None and known["settled"] == entry.version
            gone = entry is None and batch_id not in unsettled
            if gone or (loaded and entry is not None and entry.modified < until - REMEMBERED):
                del self._known[batch_id]

    def _readable(self, batch_id: str, version: str | None) -> Iterator[Change]:
        try:
            yield from self._batch(batch_id, version)
        except StoreError as error:
            leave_out(batch_id, error)
            self._remember(batch_id)

    def _remember(self, batch_id: str) -> State:
        return self._known.setdefault(batch_id, {"shards": {}, "settled": None})

    def _batch(self, batch_id: str, version: str | None) -> Iterator[Change]:
        known = self._known.get(batch_id)
        numbers = shard_numbers(self._store, batch_id)
        bills: dict[int, Bill] = {}
        for number in numbers:
            found = self._shard(batch_id, number, known)
            if found is None:
                continue
            bills[number] = Bill.of(found.plan, found.chronicle.state)
            bills[number].forget_items()
            yield found
            known = self._remember(batch_id)
            known["shards"][str(number)] = found.chronicle.seq
        if known is None or not (bills or known["settled"] != version):
            return
        yield self._changed(batch_id, numbers, bills, settled=version is not None)
        known["settled"] = version

    def _shard(self, batch_id: str, number: int, known: State | None) -> ChangedShard | None:
        """A shard of which something is new; `None` for any other, and where there is none."""
        path = shard_path(batch_id, number)
        loaded = None if known is None else known["shards"].get(str(number))
        if loaded is not None and self._store.head(segment_key(path, loaded + 1)) is None:
            return None
        plan = read_plan(self._store, batch_id, number)
        if plan is None:
            return None
        chronicle = read_chronicle(self._store, path, loaded or 0)
        return ChangedShard(plan, chronicle, plan.indices if loaded is None else chronicle.changed)

    def _changed(
        self, batch_id: str, numbers: Collection[int], bills: dict[int, Bill], *, settled: bool
    ) -> ChangedBatch:
        for number in numbers:
            books = None if number in bills else shard_books(self._store, batch_id, number)
            if books is not None:
                bills[number] = books.bill
        origin = read_origin(self._store, batch_id)
        first = read_plan(self._store, batch_id, FIRST) if origin is None else None
        return ChangedBatch(
            batch_id=batch_id,
            root=self._store.address,
            source=None if origin is None else origin.source,
            created_at=_made(origin, first),
            shards=len(bills),
            bill=Bill.total(batch_id, bills.values()),
            settled=settled,
        )


def _made(origin: Origin | None, first: Plan | None) -> datetime | None:
    """When a batch was made: one of the first edition when its plan was."""
    if origin is not None:
        return origin.created
    return None if first is None else first.planned_at
