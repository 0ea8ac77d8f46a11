"""`max_credits`: what may be spent, what is, and what has been reserved for creates under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal

from prefect_imagine.errors import BudgetExceededError
from prefect_imagine.providers.credits import Credits, add_credits

Limits = tuple[Credits | None, Mapping[str, Credits]]
"""What a batch may cost, in all and by provider."""
Share = Callable[[Limits], Limits]
"""What a run may spend of it, with what the shards have cost that it looks at."""


def whole(limits: Limits) -> Limits:
    """All of it."""
    return limits


class CreditLimit:
    """Keeps reservations and charges of a batch within `max_credits`.

    Jobs under way count with what they are known or estimated to cost.

    Attributes:
        sources: tell, one a provider, whether something may still come free there of what is set aside.
    """

    def __init__(
        self, total: Credits | None, by_provider: Mapping[str, Credits], share: Share = whole
    ) -> None:
        self.sources: list[Callable[[], bool]] = []
        self._share = share
        self._total: Decimal | None = None
        self._limits: dict[str, Decimal | None] = {}
        self._spent: dict[str, Decimal] = defaultdict(Decimal)
        self._items: dict[int, Mapping[str, Decimal]] = {}
        self._carried: dict[int, Mapping[str, Decimal]] = {}
        self.change(total, by_provider)

    def change(self, total: Credits | None, by_provider: Mapping[str, Credits]) -> None:
        """Keep other limits of the batch from now on, where some are given."""
        total, by_provider = self._share((total, by_provider))
        if total is not None:
            self._total = _decimal(total)
        self._limits |= {provider: _decimal(limit) for provider, limit in by_provider.items()}

    @property
    def spent(self) -> int | float:
        """Credits charged, estimated, or set aside, in all."""
        return add_credits(self._spent.values())

    def reserve(self, provider: str, item: int, estimate: Credits) -> None:
        """Set the price of one more job aside. Raises `BudgetExceededError` if that would pass a limit."""
        amount = Decimal(str(estimate))
        for limit, used in self._limits_of(provider):
            if used + amount > limit:
                what = "max_credits" if self._share is whole else "this shard's share of max_credits"
                raise BudgetExceededError(
                    f"item {item} ({estimate} credits) would pass {what}: {used} of {limit} are spent "
                    "or set aside"
                )
        known = self._items.get(item, {})
        self.settle(item, {**known, provider: known.get(provider, Decimal(0)) + amount})

    def fits(self, provider: str, estimate: Credits) -> bool:
        """Whether the price of one more job passes no limit."""
        amount = Decimal(str(estimate))
        return all(used + amount <= limit for limit, used in self._limits_of(provider))

    @property
    def may_come_free(self) -> bool:
        """Whether something may still come free of what is set aside."""
        return any(source() for source in self.sources)

    def settle(self, item: int, amounts: Mapping[str, Decimal]) -> None:
        """Replace what is set aside for an item by what all its jobs are now known to cost, by provider."""
        self._add(-1, self._items.get(item, {}))
        self._add(1, amounts)
        self._items[item] = amounts

    def carry(self, shard: int, amounts: Mapping[str, Decimal]) -> None:
        """Replace what a shard is known to have cost, by provider, whose items are not settled one by one."""
        self._add(-1, self._carried.get(shard, {}))
        self._add(1, amounts)
        self._carried[shard] = dict(amounts)

    def follow(self, shard: int, amounts: Mapping[int, Mapping[str, Decimal]]) -> None:
        """Settle the items of a shard one by one from now on, which have cost so much, by provider."""
        self.carry(shard, {})
        self._items.update(amounts)
        for each in amounts.values():
            self._add(1, each)

    def forget(self, items: Iterable[int]) -> None:
        """Count these items no longer: their shard is carried as a whole."""
        for item in items:
            self._add(-1, self._items.pop(item, {}))

    def _limits_of(self, provider: str) -> Iterator[tuple[Decimal, Decimal]]:
        """Each limit that a provider's jobs are kept below, with what is spent or set aside of it."""
        if self._total is not None:
            yield self._total, Decimal(sum(self._spent.values()))
        limit = self._limits.get(provider)
        if limit is not None:
            yield limit, self._spent[provider]

    def _add(self, sign: int, amounts: Mapping[str, Decimal]) -> None:
        for provider, amount in amounts.items():
            self._spent[provider] += sign * amount


def _decimal(value: Credits | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))
