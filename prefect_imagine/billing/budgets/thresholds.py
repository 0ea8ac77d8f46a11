"""Warnings before a budget is used up: each is given once in a period."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from prefect_imagine.billing.budgets.amounts import SPENT
from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.budgets.holdings import Holdings
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.providers.credits import Credits, add_credits

THRESHOLDS = (50, 80, 95, 100)
"""Percent of a limit."""


@dataclass(frozen=True)
class ThresholdReached:
    """So much of a budget is spent, or may have been.

    Attributes:
        percent: the threshold; at 100 the next create would pass the limit.
        spent: credits, with those that may have been charged.
        until: when the next period begins; `None` for `total`.
    """

    budget: str
    provider: str
    period: str
    percent: int
    spent: Credits
    limit: Credits
    until: datetime | None


Announce = Callable[[ThresholdReached], None]
"""Announces a threshold. It may be called more than once for the same one."""


def reached(
    budget: Budget, period: Period, holdings: Holdings, denied: Collection[str] = ()
) -> Iterator[ThresholdReached]:
    """The thresholds that have been reached and not been announced.

    Args:
        denied: the providers for which the next create would pass the limit.
    """
    for provider, limit in budget.limits.items():
        spent = add_credits([holdings.of(provider, *SPENT)])
        for percent in THRESHOLDS:
            if percent <= holdings.warned.get(provider, 0):
                continue
            used_up = percent == 100 and provider in denied
            if used_up or (limit and 100 * spent >= percent * limit):
                yield ThresholdReached(budget.name, provider, period.name, percent, spent, limit, period.end)
