"""All batches under a root, known by reading on: what a look costs goes by what is active.

Settled batches are read once each, when they are met. The sums over them are kept; only when one of them
becomes active again are they added up anew, in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime

from prefect_imagine.batches.accounts.record import AccountRecord, read_account_records
from prefect_imagine.batches.inbox import receiver_seen_at
from prefect_imagine.batches.index import RootIndex, check_root, is_indexed, read_index
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.budgets.standing import BudgetStanding, read_standings
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.metrics.batch import KnownBatch
from prefect_imagine.metrics.figures import Figures
from prefect_imagine.stores import Store
from prefect_imagine.threads import DaemonPool
from prefect_imagine.webhooks.counts import DeliveryCounts, read_delivery_counts

logger = logging.getLogger(__name__)

READERS = 16
"""Batches that are read at once."""
AGAIN_SECONDS = 300.0
"""From one look at what cannot be read, or what the index does not know, to the next."""

Waiting = tuple[str, str, Phase]
"""Provider, kind, and what is waited for: an answer to a create (`OPEN`), or a job's end (`CREATED`)."""


@dataclass(frozen=True)
class Sample:
    """A root at one moment.

    Attributes:
        at: when.
        seconds: how long it took to read.
        oldest: how many seconds the oldest has waited.
        active: batches that are not settled.
        unreadable: batches that cannot be read, or not whole.
        budgets: where those of the root stand.
        receiver_at: when a receiver of webhooks last said that it lives (epoch seconds, the store's clock).
    """

    at: datetime
    seconds: float
    figures: Figures
    oldest: Mapping[Waiting, float]
    active: int
    unreadable: int
    accounts: Mapping[str, AccountRecord]
    deliveries: DeliveryCounts
    budgets: tuple[BudgetStanding, ...]
    receiver_at: float | None


class KnownRoot:
    """The batches under a root. Not thread-safe: one look at a time.

    Args:
        now: the present time, which ages are counted to.
    """

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._now = now
        self._pool = DaemonPool(READERS, "imagine-metrics")
        self._batches: dict[str, KnownBatch] = {}
        self._is_indexed = False
        self._open: set[str] = set()
        self._unreadable: set[str] = set()
        self._closed: Figures | None = Figures()
        """The sums over all batches that are not open; `None` where they have to be added up anew."""

    def look(self) -> Sample:
        """Read what is new. Raises `StoreError` where the store itself fails, or the root is gone that had an
        index; what was read until then is kept, and the next look goes on there."""
        begun = boot_seconds()
        index = read_index(self._store)
        self._read(index, self._due(index, begun))
        self._leave(index)
        accounts = read_account_records(self._store)
        deliveries = read_delivery_counts(self._store)
        receiver_at = receiver_seen_at(self._store)
        now = self._now()
        budgets = read_standings(self._store, now)
        self._check_root()
        return Sample(
            at=now,
            seconds=boot_seconds() - begun,
            figures=self._total(),
            oldest=self._oldest(now),
            active=sum(self._batches[name].is_unsettled for name in self._open),
            unreadable=len(self._unreadable),
            accounts=accounts,
            deliveries=deliveries,
            budgets=tuple(budgets),
            receiver_at=receiver_at,
        )

    def close(self) -> None:
        """Give threads back."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check_root(self) -> None:
        """Asked after all else: of a root that goes meanwhile, all batches seem to be deleted."""
        if self._is_indexed:
            check_root(self._store)
        else:
            self._is_indexed = is_indexed(self._store)

    def _due(self, index: RootIndex, now: float) -> Iterator[KnownBatch]:
        """The batches that may have changed."""
        for name in (*index.active, *index.strangers, *index.settled):
            batch = self._batches.get(name)
            if batch is None:
                yield KnownBatch(name)
                continue
            changed = (batch.listed, batch.claims) != (_listed(index, name), index.claims.get(name))
            rarely = batch.unreadable or name in index.strangers
            again = now >= batch.looked_at + AGAIN_SECONDS
            if changed or (again if rarely else name in index.active):
                yield batch

    def _read(self, index: RootIndex, due: Iterator[KnownBatch]) -> None:
        looks = [(batch, self._pool.submit(self._look_at, batch, index)) for batch in due]
        try:
            for batch, look in looks:
                self._take_in(batch, index, changed=look.result())
        except BaseException:
            self._closed = None  # some may have changed that were not taken in
            wait([look for _, look in looks if not look.cancel()])
            raise

    def _look_at(self, batch: KnownBatch, index: RootIndex) -> bool:
        """Look at one batch, in a thread of its own; whether anything of it stands otherwise than before."""
        before = batch.made, dict(batch.standing)
        claims, listed = index.claims.get(batch.name), _listed(index, batch.name)
        try:
            batch.refresh(self._store, claims, listed=listed is not None)
        except StoreError as error:
            if error.retryable:
                raise
            if not batch.unreadable:
                logger.error("batch %s cannot be read: %s", batch.name, error)
            batch.unreadable = True
        batch.claims, batch.listed, batch.looked_at = claims, listed, boot_seconds()
        return before != (batch.made, batch.standing)

    def _take_in(self, batch: KnownBatch, index: RootIndex, *, changed: bool) -> None:
        was_closed = batch.name in self._batches and batch.name not in self._open
        is_open = batch.name in index.active or bool(batch.followed)
        self._batches[batch.name] = batch
        for names, belongs in ((self._open, is_open), (self._unreadable, not batch.is_whole)):
            (names.add if belongs else names.discard)(batch.name)
        if was_closed and (is_open or changed):
            self._closed = None
        elif not was_closed and not is_open and self._closed is not None:
            _add(self._closed, batch)

    def _leave(self, index: RootIndex) -> None:
        """What has been paid for by batches that are gone is counted all the same."""
        for name in self._open - index.active - index.strangers - index.settled.keys():
            batch = self._batches[name]
            batch.leave()
            self._take_in(batch, index, changed=True)

    def _total(self) -> Figures:
        if self._closed is None:
            self._closed = Figures()
            for name in self._batches.keys() - self._open:
                _add(self._closed, self._batches[name])
        total = Figures()
        total.include(self._closed)
        for name in self._open:
            _add(total, self._batches[name])
        return total

    def _oldest(self, now: datetime) -> dict[Waiting, float]:
        oldest: dict[Waiting, float] = {}
        for name in self._open:
            for shard in self._batches[name].followed.values():
                for item, phase, since in shard.under_way():
                    key = (item.request.provider, item.request.kind.value, phase)
                    oldest[key] = max(oldest.get(key, 0.0), (now - since).total_seconds())
        return oldest


def _listed(index: RootIndex, name: str) -> tuple[str, str] | None:
    """What is another one wherever something has come to a settled batch: the entry's key tells the time of
    the last create, its version the last segments."""
    if name not in index.settled:
        return None
    entry = index.entries[name]
    return entry.key, entry.version


def _add(figures: Figures, batch: KnownBatch) -> None:
    for each in batch.figures():
        figures.include(each)
