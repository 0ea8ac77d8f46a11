"""`max_credits`: what may be spent, what is, and what has been reserved for creates under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from prefect_imagine.errors import BudgetExceededError
from prefect_imagine.providers.credits import Credits, add_credits


class Budget:
    """Keeps reservations and charges of a batch within `max_credits`.

    Jobs under way count with what they are known or estimated to cost. A denial is final for the run.
    """

    def __init__(self, total: Credits | None, by_provider: Mapping[str, Credits]) -> None:
        self._total = _decimal(total)
        self._limits = {provider: _decimal(limit) for provider, limit in by_provider.items()}
        self._spent: dict[str, Decimal] = defaultdict(Decimal)
        self._items: dict[int, Decimal] = {}

    @property
    def spent(self) -> int | float:
        """Credits charged, estimated, or set aside, in all."""
        return add_credits(self._spent.values())

    def reserve(self, provider: str, item: int, estimate: Credits) -> None:
        """Set the price of one more job aside. Raises `BudgetExceededError` if that would pass a limit."""
        amount = Decimal(str(estimate))
        spent = Decimal(sum(self._spent.values()))
        for limit, used in ((self._total, spent), (self._limits.get(provider), self._spent[provider])):
            if limit is not None and used + amount > limit:
                raise BudgetExceededError(
                    f"item {item} ({estimate} credits) would pass max_credits: {used} of {limit} are spent "
                    "or set aside"
                )
        self._set(provider, item, self._items.get(item, Decimal(0)) + amount)

    def settle(self, provider: str, item: int, cost: Credits | Decimal) -> None:
        """Replace what is set aside for an item by what all its jobs are now known to cost."""
        self._set(provider, item, Decimal(str(cost)))

    def _set(self, provider: str, item: int, amount: Decimal) -> None:
        self._spent[provider] += amount - self._items.get(item, Decimal(0))
        self._items[item] = amount


def _decimal(value: Credits | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))
