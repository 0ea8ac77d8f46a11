"""What the books of all batches say of each provider since a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from prefect_imagine.batches.accounts.marks import BookSums
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Sums
from prefect_imagine.billing.ledger import provider_of
from prefect_imagine.billing.settlement import Settlement


@dataclass
class Booked:
    """Collects items of many batches that were last created since a moment, by provider.

    Attributes:
        since: a quarter of an hour's beginning, since settled shards tell no less.
        until: when the balance was read that this is held against: what was created later is not in it.
    """

    since: datetime
    until: datetime
    _providers: dict[str, Sums] = field(default_factory=dict)

    def add(self, plan: Plan, state: BatchState) -> None:
        """Take a shard in."""
        for way in Shard(plan, state).ways():
            at = way.state.intent_at
            if at is not None and self.since <= at <= self.until:
                self._of(way.item.request.provider).add(way)

    def add_settled(self, settlement: Settlement) -> None:
        """Take a settled shard in."""
        for each in settlement.spent:
            if each.by == "model" and self.since <= each.at:
                self._of(provider_of(each.name)).include(Sums.of_settled(each))

    def of(self, provider: str) -> BookSums:
        """What they say of a provider."""
        sums = self._of(provider)
        return BookSums(
            charged=sums.charged,
            estimated=sums.estimated,
            possible=sums.possible,
            under_way=sums.counts.under_way,
        )

    def _of(self, provider: str) -> Sums:
        return self._providers.setdefault(provider, Sums())
