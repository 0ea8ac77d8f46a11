"""Items that a run creates no more, since a budget that counts only some of a provider's items is used up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.engine.budgets.account import Account
from prefect_imagine.errors import BudgetUsedUpError


@dataclass(frozen=True)
class _UsedUp:
    """What a budget did not hold.

    Attributes:
        limit: of the provider's credits, by then.
        price: the least that was asked for in vain.
    """

    period: Period
    limit: Decimal
    price: Decimal


class Denials:
    """Remembers which budgets are used up, so that nobody asks them again for every item that they count, and
    the items that were denied.

    Attributes:
        first: what was said when the first item of a provider was denied.
    """

    def __init__(self) -> None:
        self.first: dict[str, BudgetUsedUpError] = {}
        self._used_up: dict[tuple[str, str], _UsedUp] = {}
        self._items: dict[tuple[int, str], set[int]] = {}

    def note(self, account: Account, provider: str, price: Decimal, error: BudgetUsedUpError) -> None:
        """A budget does not hold so much."""
        self.first.setdefault(provider, error)
        found = _UsedUp(account.period, account.limit(provider), price)
        self._used_up[account.budget.key, provider] = found

    def apply(self, budgets: Iterable[Budget], provider: str, price: Decimal, at: datetime) -> bool:
        """Whether one of these is known not to hold so much: it is the same period, and the same limit."""
        for budget in budgets:
            known = self._used_up.get((budget.key, provider))
            if known is None or not known.period.holds(at):
                continue
            if price >= known.price and known.limit == Decimal(str(budget.limits[provider])):
                return True
        return False

    def add(self, shard: int, provider: str, index: int) -> None:
        """An item is denied."""
        self._items.setdefault((shard, provider), set()).add(index)

    def has(self, shard: int, provider: str, index: int) -> bool:
        """Whether an item was denied."""
        return index in self._items.get((shard, provider), ())

    def count(self, shard: int, provider: str | None = None) -> int:
        """How many items of a shard were denied, with one provider or with all."""
        return sum(
            len(items)
            for (number, name), items in self._items.items()
            if number == shard and provider in (None, name)
        )

    def forget(self, shard: int) -> None:
        """A shard is open no longer."""
        for key in [key for key in self._items if key[0] == shard]:
            del self._items[key]
