"""One budget in one period, as one run sees it: what its shards have spent of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from prefect_imagine.billing.budgets.amounts import Kind
from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.budgets.holdings import NONE, NOTHING, Holding, Holdings
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.errors import FencedError


@dataclass(frozen=True)
class Holder:
    """A shard that this run has open.

    Attributes:
        number: which of the batch's shards.
        name: how holdings name it.
        claim: the segment with which this run has claimed it.
    """

    number: int
    name: str
    claim: int


@dataclass
class Account:
    """What the open shards of a run hold of one budget in one period, and have used of that.

    Attributes:
        holdings: what all held when that was read last.
        used: by shard, what its creates have cost or may have cost, and what is set aside for those that are
            about to be sent; by provider and kind.
        ended: the providers with which this run creates nothing more.
        dirty: whether something has changed since it was last written.
    """

    budget: Budget
    period: Period
    holdings: Holdings = NOTHING
    used: dict[Holder, dict[tuple[str, Kind], Decimal]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    dirty: bool = False

    def add(self, holder: Holder, provider: str, kind: Kind, amount: Decimal) -> None:
        """Count so much more as used."""
        used = self.used.setdefault(holder, {})
        used[provider, kind] = used.get((provider, kind), NONE) + amount
        self.dirty = True

    def free(self, holder: Holder, provider: str) -> Decimal:
        """What a shard holds and has not used; below nothing where its creates have cost more than was
        thought."""
        known = self.holdings.holders.get(holder.name)
        held = known.of(provider) if known is not None and known.claim == holder.claim else NONE
        return held - self._used(holder, provider)

    @property
    def has_free(self) -> bool:
        """Whether the run's shards hold something that they have not used."""
        return any(self.free(holder, name) > 0 for holder in self.used for name in self.budget.limits)

    def limit(self, provider: str) -> Decimal:
        """What may be spent."""
        return Decimal(str(self.budget.limits[provider]))

    def rest(self, provider: str) -> Decimal:
        """What is left beside all that others hold and that this run has used."""
        used = sum((self._used(holder, provider) for holder in self.used), NONE)
        return self.limit(provider) - (self.holdings.of(provider) - self._written(provider)) - used

    def may_come_free(self, provider: str, price: Decimal) -> bool:
        """Whether there would be room for so much if nothing of what is set aside were used, and no create
        whose outcome is not known yet had been accepted."""
        may_be_free: tuple[Kind, ...] = ("open", "reserved")
        own = sum(
            (used.get((provider, kind), NONE) for used in self.used.values() for kind in may_be_free), NONE
        )
        mine = sum((each.of(provider, *may_be_free) for each in self._own if each.active), NONE)
        return self.rest(provider) + own + self.holdings.may_come_free(provider) - mine >= price

    @property
    def others_active(self) -> int:
        """How many shards of other runs may still create."""
        return self.holdings.active - sum(each.active for each in self._own)

    def used_alone(self) -> dict[str, Holding]:
        """What the run's shards are to hold that will use no more for a while."""
        return {holder.name: self.entry(holder, {}) for holder in self.used}

    def entries(
        self, holder: Holder | None = None, provider: str = "", share: Decimal = NONE
    ) -> dict[str, Holding]:
        """What the run's shards are to hold: what they have used, and what they have free, as far as there is
        room for it beside this share of one of them for what it creates next."""
        free: dict[Holder, dict[str, Decimal]] = {each: {} for each in self.used}
        for name in self.budget.limits:
            if name in self.ended and name != provider:
                continue
            room = max(NONE, self.rest(name) - (share if name == provider else NONE))
            for each, amounts in free.items():
                if each == holder and name == provider:
                    amounts[name] = share
                    continue
                amounts[name] = min(room, max(NONE, self.free(each, name)))
                room -= amounts[name]
        return {each.name: self.entry(each, amounts) for each, amounts in free.items()}

    def entry(self, holder: Holder, free: Mapping[str, Decimal], *, active: bool = True) -> Holding:
        """What one of them is to hold, with so much that it has not used."""
        amounts: dict[Kind, dict[str, Decimal]] = {
            "reserved": {provider: amount for provider, amount in free.items() if amount}
        }
        for (provider, kind), amount in self.used.get(holder, {}).items():
            if amount:
                known = amounts.setdefault(kind, {})
                known[provider] = known.get(provider, NONE) + amount
        return Holding(claim=holder.claim, active=active, **amounts)

    def check_claims(self) -> None:
        """Raise `FencedError` where another process has taken a shard over."""
        for holder in self.used:
            if self.holdings.is_claimed_later(holder.name, holder.claim):
                raise FencedError(f"{holder.name} has been taken over by another process")

    @property
    def _own(self) -> list[Holding]:
        """What is written of the run's shards, by whomever."""
        found = (self.holdings.holders.get(holder.name) for holder in self.used)
        return [each for each in found if each is not None]

    def _written(self, provider: str) -> Decimal:
        return sum((each.of(provider) for each in self._own), NONE)

    def _used(self, holder: Holder, provider: str) -> Decimal:
        used = self.used.get(holder, {})
        return sum((amount for (name, _), amount in used.items() if name == provider), NONE)
