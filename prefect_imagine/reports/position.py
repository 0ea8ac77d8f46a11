"""Where a batch stands by its store alone, over all of its shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.estimates import EstimateLine, Estimates, expected_of
from prefect_imagine.billing.root import read_unsettled, shard_books
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.reports.failures import FailureLine, Failures
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize
from prefect_imagine.stores import Store

_PAID = (Phase.OPEN, Phase.CREATED, Phase.FINISHED, Phase.UNKNOWN)


@dataclass(frozen=True)
class Position:
    """Where a batch stands.

    Attributes:
        failures: what is not stored, and why.
        planned: what is still to be created.
        paid: items that are, or may be, paid for and not stored.
    """

    bill: Bill
    failures: Sequence[FailureLine]
    planned: Sequence[EstimateLine]
    paid: int

    def summary(self, address: str) -> tuple[Summary, Usage]:
        """Bill and summary, without a single request to a provider."""
        usage = self.bill.usage(utc_now())
        return summarize(usage, address, RequestCounts(), ()), usage


def position_of(store: Store, batch_id: str, held: Mapping[int, Shard] | None = None) -> Position:
    """Where a batch stands. Raises `StoreError`.

    Args:
        held: shards that need not be read, by number.
    """
    position = Positions(batch_id)
    for shard in shard_numbers(store, batch_id):
        known = (held or {}).get(shard)
        if known is not None:
            position.take(known, Bill.of(known.plan, known.state))
            continue
        books = shard_books(store, batch_id, shard)
        if isinstance(books, Settlement):
            failed = read_unsettled(store, batch_id, shard) if books.failed else None
            position.take(failed, books.bill)
        elif books is not None:
            position.take(books, books.bill)
    return position.result


class Positions:
    """Adds shards up to the position of their batch."""

    def __init__(self, batch_id: str) -> None:
        self._batch_id = batch_id
        self._bills: list[Bill] = []
        self._failures = Failures()
        self._planned = Estimates()
        self._paid = 0

    def take(self, shard: Shard | None, bill: Bill) -> None:
        """Take a shard in; one that is settled and stored by its bill alone."""
        bill.forget_items()
        self._bills.append(bill)
        if shard is None:
            return
        self._failures.take(shard)
        for item, known in shard.standings():
            self._paid += _is_paid_and_unfinished(known)
            if known.phase is Phase.PLANNED:
                self._planned.add(expected_of(item))

    @property
    def result(self) -> Position:
        """The batch, as far as its shards were taken in."""
        bill = Bill.total(self._batch_id, self._bills)
        return Position(bill, self._failures.lines, self._planned.lines, self._paid)


def _is_paid_and_unfinished(item: ItemState) -> bool:
    return item.phase in _PAID
