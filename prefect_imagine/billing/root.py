"""The batches under a root by their books: settled ones by one object each, others by plan and journal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime

from prefect_imagine.batches.index import (
    batches_since,
    forget_index_mark,
    is_indexed,
    leave_out,
    put_settled,
    unsettled_batches,
)
from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reading import Reading, read_journal
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.settlement import (
    Settlement,
    read_settlement,
    settle,
    write_settlement,
)
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

_LOOKED_AT = (Phase.OPEN, Phase.CREATED, Phase.FINISHED, Phase.UNKNOWN)

Books = Settlement | tuple[Plan, Reading]


def books_of(store: Store, batch_id: str) -> Books | None:
    """A batch by its settlement, or else by plan and journal; `None` where there is no plan. Raises
    `StoreError`."""
    return read_settlement(store, batch_id) or _unsettled_books(store, batch_id)


def _unsettled_books(store: Store, batch_id: str) -> tuple[Plan, Reading] | None:
    plan = read_plan(store, batch_id)
    # Without a plan too its journal has to be readable, for all to know that it says nothing.
    reading = read_journal(store, batch_id)
    return None if plan is None else (plan, reading)


def books_since(store: Store, since: datetime) -> Iterator[Books]:
    """The batches that are active or have created something since then, one after the other; a damaged one is
    reported and left out. Raises `StoreError` where the store itself fails."""
    for batch_id in batches_since(store, since):
        try:
            found = books_of(store, batch_id)
        except StoreError as error:
            leave_out(batch_id, error)
            continue
        if found is not None:
            yield found


def take_stock(store: Store, batch_id: str) -> Books | None:
    """The same as `books_of`; and a batch that has settled without its holder's saying so, because it died or
    knew no index, is listed as settled from now on. Raises `StoreError` where it cannot be read."""
    books = books_of(store, batch_id)
    settled = books if isinstance(books, Settlement) else None
    if isinstance(books, tuple):
        plan, reading = books
        usage = Bill.of(plan, reading.state).usage(utc_now())
        settled = None if reading.damaged else settle(plan, reading.state, reading.seq, usage)
        if settled is None:
            return books
    try:
        if isinstance(books, tuple) and settled is not None:
            write_settlement(store, settled)
        _list_settled(store, batch_id, settled)
    except StoreError as error:  # whoever may only read it reads it again the next time
        logger.info("batch %s cannot be listed as settled: %s", batch_id, error)
    return settled


def _list_settled(store: Store, batch_id: str, settled: Settlement | None) -> None:
    if is_indexed(store):
        if settled is not None:
            put_settled(store, batch_id, settled.last_create)
        forget_index_mark(store, batch_id)


def unsettled_under(store: Store, since: float) -> Iterator[str]:
    """The ids of the batches that were written to since then (epoch seconds, by the store's own clock) and
    have items to look at again: open, under way, to be stored, unknown. Raises `StoreError`."""
    for batch_id in unsettled_batches(store, since):
        try:
            found = take_stock(store, batch_id)
        except StoreError as error:
            leave_out(batch_id, error)
            continue
        if isinstance(found, tuple) and _may_change(*found):
            yield batch_id


def _may_change(plan: Plan, reading: Reading) -> bool:
    return any(reading.state[item.index].phase in _LOOKED_AT for item in plan.items)
