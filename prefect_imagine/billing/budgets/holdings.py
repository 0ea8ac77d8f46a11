"""What batches hold of a budget in one period: a table of all holders, changed in one step each time.

A shard holds what its creates have cost or may have cost, and what it has set aside for the next ones. It is
written before the intents that it covers, so the sum over all holders is never less than what was spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from itertools import product
from typing import Literal

from pydantic import Field

from prefect_imagine.billing.budgets.amounts import KINDS, Kind
from prefect_imagine.providers.models import Frozen

NONE = Decimal(0)
BY_BOOKS = 0
"""The claim of a holding that was made from books: whoever runs the shard overwrites it."""


class Holding(Frozen):
    """What one shard holds, in credits by provider.

    Attributes:
        claim: the segment of its journal with which whoever wrote this has claimed it: a later one's is not
            overwritten.
        active: whether whoever wrote this may still create.
        charged: what its creates have cost, as the provider said.
        estimated: by a price list, where it is silent.
        possible: estimated, for creates of which it cannot be found out whether they were accepted.
        open: the same where it will be found out, or the answer is waited for.
        reserved: for the next ones.
    """

    claim: int
    active: bool = True
    charged: dict[str, Decimal] = Field(default_factory=dict)
    estimated: dict[str, Decimal] = Field(default_factory=dict)
    possible: dict[str, Decimal] = Field(default_factory=dict)
    open: dict[str, Decimal] = Field(default_factory=dict)
    reserved: dict[str, Decimal] = Field(default_factory=dict)

    def of(self, provider: str, *kinds: Kind) -> Decimal:
        """What it holds of a provider's credits: of these kinds, or all."""
        return sum((getattr(self, kind).get(provider, NONE) for kind in kinds or KINDS), NONE)


class Holdings(Frozen):
    """What all hold in one period.

    Attributes:
        seq: how many changes there were.
        write: names the last one.
        after: the name of the one before it.
        at: when it was made.
        holders: by shard.
        warned: by provider, the highest threshold (percent) that has been announced.
    """

    format: Literal[1] = 1
    seq: int = 0
    write: str = ""
    after: str = ""
    at: datetime | None = None
    holders: dict[str, Holding] = Field(default_factory=dict)
    warned: dict[str, int] = Field(default_factory=dict)

    @cached_property
    def sums(self) -> Mapping[tuple[str, Kind, bool], Decimal]:
        """What all hold, by provider, by kind, and by whether they may still create. It is made beside the
        event loop when holdings are read, and kept as they change."""
        sums: dict[tuple[str, Kind, bool], Decimal] = {}
        for holding in self.holders.values():
            _add(sums, holding, 1)
        return sums

    @cached_property
    def active(self) -> int:
        """How many may still create."""
        return sum(each.active for each in self.holders.values())

    def of(self, provider: str, *kinds: Kind) -> Decimal:
        """What all hold of a provider's credits: of these kinds, or all."""
        keys = product((provider,), kinds or KINDS, (True, False))
        return sum((self.sums.get(key, NONE) for key in keys), NONE)

    def may_come_free(self, provider: str) -> Decimal:
        """What those that may still create have set aside, or may turn out not to have spent."""
        return self.sums.get((provider, "open", True), NONE) + self.sums.get(
            (provider, "reserved", True), NONE
        )

    def holds(self, holders: Mapping[str, Holding]) -> bool:
        """Whether each of these holds exactly that."""
        return all(self.holders.get(name) == holding for name, holding in holders.items())

    def with_holders(self, changed: Mapping[str, Holding]) -> Holdings:
        """With these in place of what they held."""
        new = self.model_copy(update={"holders": {**self.holders, **changed}})
        sums, active = dict(self.sums), self.active
        for name, holding in changed.items():
            known = self.holders.get(name)
            if known is not None:
                _add(sums, known, -1)
            _add(sums, holding, 1)
            active += holding.active - (known.active if known is not None else False)
        new.__dict__["sums"], new.__dict__["active"] = sums, active
        return new

    def with_warning(self, provider: str, percent: int) -> Holdings:
        """With a threshold announced."""
        return self.model_copy(update={"warned": {**self.warned, provider: percent}})

    def is_claimed_later(self, holder: str, claim: int) -> bool:
        """Whether somebody has claimed a shard after whoever has this claim."""
        known = self.holders.get(holder)
        return known is not None and known.claim > claim


def _add(sums: dict[tuple[str, Kind, bool], Decimal], holding: Holding, sign: int) -> None:
    for kind in KINDS:
        for provider, amount in getattr(holding, kind).items():
            key = provider, kind, holding.active
            sums[key] = sums.get(key, NONE) + sign * amount


NOTHING = Holdings()
"""What all hold before anybody holds anything."""


def holder_name(path: str, planned_at: datetime) -> str:
    """How holdings name a shard: a batch that is made again under the name of a deleted one is another."""
    return f"{path}@{planned_at:%Y%m%dT%H%M%S.%f}"


def shard_of(holder: str) -> str:
    """The folder of the shard that holdings name so, below the root."""
    return holder.rpartition("@")[0]
