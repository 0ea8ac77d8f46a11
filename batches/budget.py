"""`max_credits`: what may be spent, what is, and what has been reserved for creates under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from prefect_imagine.providers.credits import Credits


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
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self._total is not None or bool(self._limits)

    def limits(self, provider: str) -> bool:
        """Whether there is a limit on this provider's spending."""
        return self._total is not None or provider in self._limits

    def reserve(self, provider: str, item: int, estimate: Credits) -> bool:
        """Set the price of one more job aside; `False` if that would pass the limit."""
        amount = Decimal(str(estimate))
        own = self._limits.get(provider)
        if self._total is not None and sum(self._spent.values()) + amount > self._total:
            return False
        if own is not None and self._spent[provider] + amount > own:
            return False
        self._set(provider, item, self._items.get(item, Decimal(0)) + amount)
        return True

    def settle(self, provider: str, item: int, cost: Credits) -> None:
        """Replace what is set aside for an item by what all its jobs are now known to cost."""
        self._set(provider, item, Decimal(str(cost)))

    def _set(self, provider: str, item: int, amount: Decimal) -> None:
        self._spent[provider] += amount - self._items.get(item, Decimal(0))
        self._items[item] = amount


def _decimal(value: Credits | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))
