"""Where the budgets of a root stand: what is spent of each, what is set aside, and what is left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from prefect_imagine.billing.budgets.amounts import SPENT
from prefect_imagine.billing.budgets.budget import Budget, read_budgets
from prefect_imagine.billing.budgets.holdings import Holdings
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.billing.budgets.sequence import read_holdings
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

SHORTEST = timedelta(hours=1)
"""A pace is told by no shorter time."""


class BudgetStanding(Frozen):
    """Where one budget stands with one provider.

    Attributes:
        budget: its name.
        labels: it counts only items that have all of these.
        provider: whose credits are counted.
        period: the present one, such as `2026-11`.
        time_zone: whose days are meant.
        until: when the next period begins; `None` for `total`.
        limit: credits that may be spent in the period.
        charged: credits that were spent in it, as the provider said.
        estimated: the same by a price list, where the provider is silent.
        possible: estimated, for creates of which it is not known whether they were accepted.
        reserved: set aside by runs for their next creates.
        left: what nobody has spent or set aside; below 0 where the limit was lowered, or the provider charged
            more than was estimated.
        used_up_at: when nothing is left, if as much is spent as on average until now; `None` where that is
            not before the period ends, or nothing can be said.
        open_holders: how many shards may still create, or were killed while they did.
    """

    budget: str
    labels: dict[str, str]
    provider: str
    period: str
    time_zone: str
    until: datetime | None
    limit: Credits
    charged: Credits
    estimated: Credits
    possible: Credits
    reserved: Credits
    left: Credits
    used_up_at: datetime | None
    open_holders: int

    @property
    def named(self) -> str:
        """The budget's name, with the labels that it counts."""
        return f"{self.budget}{''.join(f' {label}={value}' for label, value in sorted(self.labels.items()))}"

    @property
    def spent(self) -> int | float:
        """Credits that were spent or may have been."""
        return add_credits([self.charged, self.estimated, self.possible])


def read_standings(store: Store, at: datetime) -> list[BudgetStanding]:
    """All budgets of a root as they stand, by name and provider. Raises `StoreError`."""
    return [
        line
        for budget in read_budgets(store)
        for line in standings_of(budget, read_holdings(store, budget.key, budget.period_of(at).name), at)
    ]


def standings_of(budget: Budget, holdings: Holdings, at: datetime) -> Iterator[BudgetStanding]:
    """A budget as it stands, by provider."""
    period = budget.period_of(at)
    for provider, limit in sorted(budget.limits.items()):
        left = add_credits([limit, -holdings.of(provider)])
        spent = float(holdings.of(provider, *SPENT))
        yield BudgetStanding(
            budget=budget.name,
            labels=budget.labels,
            provider=provider,
            period=period.name,
            time_zone=budget.time_zone,
            until=period.end,
            limit=limit,
            left=left,
            used_up_at=_used_up_at(spent, float(limit) - spent, period, period.start or budget.set_at, at),
            open_holders=sum(each.active and bool(each.of(provider)) for each in holdings.holders.values()),
            charged=add_credits([holdings.of(provider, "charged")]),
            estimated=add_credits([holdings.of(provider, "estimated")]),
            possible=add_credits([holdings.of(provider, "possible", "open")]),
            reserved=add_credits([holdings.of(provider, "reserved")]),
        )


def _used_up_at(spent: float, left: float, period: Period, since: datetime, at: datetime) -> datetime | None:
    if left <= 0:
        return at
    if not spent or at - since < SHORTEST:
        return None
    days = left / (spent / (at - since).total_seconds()) / 86400
    if days > 36_500:
        return None
    found = at + timedelta(days=days)
    return None if period.end is not None and found >= period.end else found
