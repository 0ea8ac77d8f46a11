"""What was spent in a period before its budget was set, from the books of all batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from prefect_imagine.batches.index import Unreadable, leave_out
from prefect_imagine.batches.plan import read_planned_at
from prefect_imagine.batches.shard import Shard
from prefect_imagine.billing.budgets.amounts import SPENT, Kind, amounts_of
from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.budgets.holdings import BY_BOOKS, Holding, Holdings, holder_name
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.billing.budgets.sequence import read_holdings, write_holdings
from prefect_imagine.billing.root import NEVER, Books, Unsettled, books_since, read_unsettled
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

ATTEMPTS = 20
T = TypeVar("T")


def count_spent(store: Store, budget: Budget, at: datetime, unreadable: Unreadable = leave_out) -> Holdings:
    """Write down what was spent in the present period by shards that hold nothing of the budget yet: it reads
    the books of all batches of the period. Raises `StoreError`.

    Args:
        unreadable: takes in which batches cannot be read, and are not counted.
    """
    period = budget.period_of(at)
    found = dict(_holders(store, budget, period, unreadable))
    for _ in range(ATTEMPTS):
        known = read_holdings(store, budget.name, period.name)
        new = {
            name: holding
            for name, holding in found.items()
            if name not in known.holders or known.holders[name].claim == BY_BOOKS
        }
        if known.holds(new):
            return known
        written = write_holdings(store, budget.name, period.name, known, known.with_holders(new), at)
        if written is not None:
            return written
    raise StoreError(f"budget {budget.name!r} is changed by too many at once: set it again")


def _holders(
    store: Store, budget: Budget, period: Period, unreadable: Unreadable
) -> Iterator[tuple[str, Holding]]:
    for books in books_since(store, period.start or NEVER, unreadable):
        planned_at = _planned_at(store, books)
        within = period.start is None or planned_at >= period.start
        if isinstance(books, Settlement) and within and not budget.labels:
            holding = _by_settlement(books, budget)
        else:
            holding = _by_items(_with_items(store, books), budget, period)
        if any(holding.of(provider) for provider in budget.limits):
            yield holder_name(books.path, planned_at), holding


def _planned_at(store: Store, books: Books) -> datetime:
    if isinstance(books, Unsettled):
        return books.plan.planned_at
    return _there(read_planned_at(store, books.batch_id, books.shard), store, books)


def _with_items(store: Store, books: Books) -> Unsettled:
    if isinstance(books, Unsettled):
        return books
    return _there(read_unsettled(store, books.batch_id, books.shard), store, books)


def _there(found: T | None, store: Store, books: Books) -> T:
    if found is None:
        raise StoreError(f"the plan of {store.address}/{books.path} is gone")
    return found


def _by_settlement(books: Settlement, budget: Budget) -> Holding:
    """What a shard has spent all of which belongs to the period."""
    lines = [line for line in books.usage.by_provider if line.name in budget.limits]
    return Holding(
        claim=BY_BOOKS,
        active=False,
        charged={line.name: Decimal(str(line.charged)) for line in lines},
        estimated={line.name: Decimal(str(line.estimated)) for line in lines},
        possible={line.name: Decimal(str(line.possible)) for line in lines},
    )


def _by_items(shard: Shard, budget: Budget, period: Period) -> Holding:
    sums: dict[Kind, dict[str, Decimal]] = {kind: defaultdict(Decimal) for kind in SPENT}
    for item, state in shard.standings():
        concerned = budget.concerns(item.request.provider, item.request.labels)
        for at, kind, credits in amounts_of(item, state) if concerned else ():
            if at is not None and period.holds(at):
                sums[kind][item.request.provider] += credits
    return Holding(claim=BY_BOOKS, active=False, **sums)
