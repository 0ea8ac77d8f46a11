"""What was spent in a period by the books of all batches, for a budget that is being set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from prefect_imagine.batches.index import Unreadable, batches_since, leave_out
from prefect_imagine.batches.plan import read_planned_at
from prefect_imagine.batches.shard import Shard
from prefect_imagine.billing.budgets.amounts import SPENT, Kind, amounts_of
from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.budgets.holdings import BY_BOOKS, Holding, Holdings, holder_name
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.billing.budgets.sequence import read_holdings, write_holdings
from prefect_imagine.billing.root import NEVER, Books, Unsettled, books_of, read_unsettled
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

ATTEMPTS = 20
CLOCKS_DIFFER = timedelta(hours=1)
"""By how much clocks may differ, and how long a batch may take to show what it has created."""


def count_and_set(
    store: Store,
    budget: Budget,
    at: datetime,
    put: Callable[[], None],
    unreadable: Unreadable = leave_out,
) -> Holdings:
    """Count what was spent in the present period, put the budget in force, and count what has ended since.
    Raises `StoreError`.

    Args:
        put: puts it in force.
        unreadable: takes in which batches cannot be read, and are not counted whole.
    """
    period = budget.period_of(at)
    _count(store, budget, period, period.start or NEVER, at, unreadable)
    put()
    return _count(store, budget, period, max(period.start or NEVER, at - CLOCKS_DIFFER), at, leave_out)


def _count(
    store: Store, budget: Budget, period: Period, since: datetime, at: datetime, unreadable: Unreadable
) -> Holdings:
    """Write down what batches have spent that have created something since then."""
    found: dict[str, Holding] = {}
    for batch_id in batches_since(store, since, unreadable):
        try:
            for books in books_of(store, batch_id):
                name, holding = _holding(store, books, budget, period)
                if any(holding.of(provider) for provider in budget.limits):
                    found[name] = holding
                if isinstance(books, Unsettled) and books.damaged:
                    unreadable(batch_id, StoreError(f"the journal of {books.path} is damaged"))
        except StoreError as error:
            unreadable(batch_id, error)
    for _ in range(ATTEMPTS):
        known = read_holdings(store, budget.key, period.name)
        new = {name: _together(known.holders.get(name), each) for name, each in found.items()}
        if known.holds(new):
            return known
        written = write_holdings(store, budget.key, period.name, known, known.with_holders(new), at)
        if written is not None:
            return written
    raise StoreError(f"budget {budget.name!r} is changed by too many at once: set it again")


def _together(known: Holding | None, by_books: Holding) -> Holding:
    """What a shard holds by its books, if that is more than what is written. What somebody who may live has
    set aside stays: they count on it."""
    if known is None:
        return by_books
    providers = {*known.charged, *by_books.charged, *known.estimated, *by_books.estimated}
    providers |= {*known.possible, *by_books.possible, *known.open, *by_books.open}
    if all(known.of(each, *SPENT) >= by_books.of(each, *SPENT) for each in providers):
        return known
    kept = {"claim": known.claim, "active": known.active, "reserved": known.reserved}
    return by_books.model_copy(update=kept)


def _holding(store: Store, books: Books, budget: Budget, period: Period) -> tuple[str, Holding]:
    planned_at = _planned_at(store, books)
    within = period.start is None or planned_at >= period.start
    if isinstance(books, Settlement) and within and not budget.labels:
        holding = _by_settlement(books, budget)
    else:
        holding = _by_items(_with_items(store, books), budget, period)
    return holder_name(books.path, planned_at), holding


def _planned_at(store: Store, books: Books) -> datetime:
    if isinstance(books, Unsettled):
        return books.plan.planned_at
    found = read_planned_at(store, books.batch_id, books.shard)
    if found is None:
        raise StoreError(f"the plan of {store.address}/{books.path} is gone")
    return found


def _with_items(store: Store, books: Books) -> Unsettled:
    if isinstance(books, Unsettled):
        return books
    found = read_unsettled(store, books.batch_id, books.shard)
    if found is None:
        raise StoreError(f"the plan of {store.address}/{books.path} is gone")
    return found


def _by_settlement(books: Settlement, budget: Budget) -> Holding:
    """What a shard has spent all of which belongs to the period."""
    lines = [line for line in books.usage.by_provider if line.name in budget.limits]
    return _holding_of(
        {
            "charged": {line.name: Decimal(str(line.charged)) for line in lines},
            "estimated": {line.name: Decimal(str(line.estimated)) for line in lines},
            "possible": {line.name: Decimal(str(line.possible)) for line in lines},
        }
    )


def _by_items(shard: Shard, budget: Budget, period: Period) -> Holding:
    sums: dict[Kind, dict[str, Decimal]] = {kind: defaultdict(Decimal) for kind in SPENT}
    for item, state in shard.standings():
        for provider, at, kind, credits in amounts_of(item, state):
            concerned = budget.concerns(provider, item.request.labels)
            if concerned and at is not None and period.holds(at):
                sums[kind][provider] += credits
    return _holding_of(sums)


def _holding_of(amounts: Mapping[Kind, Mapping[str, Decimal]]) -> Holding:
    known: dict[Kind, dict[str, Decimal]] = {
        kind: {provider: credits for provider, credits in by_provider.items() if credits}
        for kind, by_provider in amounts.items()
    }
    return Holding(claim=BY_BOOKS, active=False, **known)
