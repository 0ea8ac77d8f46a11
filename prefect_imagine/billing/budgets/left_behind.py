"""Shards that may hold more of a budget than they have spent, because whoever ran them has died."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.budgets.holdings import shard_of
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.billing.budgets.sequence import read_holdings
from prefect_imagine.stores import Store


def open_holders(store: Store, budgets: Sequence[Budget], at: datetime) -> frozenset[str]:
    """The folders of shards that hold something of a budget in the present period or the one before, and have
    not said that they create nothing more: they are being run, or whoever ran them has died. Raises
    `StoreError`."""
    return frozenset(
        shard_of(name)
        for budget in budgets
        for period in recent_periods(budget, at)
        for name, holding in read_holdings(store, budget.key, period.name).holders.items()
        if holding.active
    )


def recent_periods(budget: Budget, at: datetime) -> Iterator[Period]:
    """The present period, and the one before."""
    present = budget.period_of(at)
    yield present
    if present.start is not None:
        yield budget.period_of(present.start - timedelta(seconds=1))
