"""What batches hold of a budget in one period: a table of all holders, changed in one step each time.

A shard holds what its creates have cost or may have cost, and what it has set aside for the next ones. It is
written before the intents that it covers, so the sum over all holders is never less than what was spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import Field

from prefect_imagine.billing.budgets.amounts import SPENT, Kind
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
        return sum((getattr(self, kind).get(provider, NONE) for kind in kinds or (*SPENT, "reserved")), NONE)


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

    def of(self, provider: str, *kinds: Kind, without: Iterable[str] = ()) -> Decimal:
        """What all hold of a provider's credits, but for these holders: of these kinds, or all."""
        left_out = set(without)
        others = (each for name, each in self.holders.items() if name not in left_out)
        return sum((each.of(provider, *kinds) for each in others), NONE)

    def holds(self, holders: Mapping[str, Holding]) -> bool:
        """Whether each of these holds exactly that."""
        return all(self.holders.get(name) == holding for name, holding in holders.items())

    def with_holders(self, changed: Mapping[str, Holding]) -> Holdings:
        """With these in place of what they held."""
        return self.model_copy(update={"holders": {**self.holders, **changed}})

    def with_warning(self, provider: str, percent: int) -> Holdings:
        """With a threshold announced."""
        return self.model_copy(update={"warned": {**self.warned, provider: percent}})

    def is_claimed_later(self, holder: str, claim: int) -> bool:
        """Whether somebody has claimed a shard after whoever has this claim."""
        known = self.holders.get(holder)
        return known is not None and known.claim > claim


NOTHING = Holdings()
"""What all hold before anybody holds anything."""


def holder_name(path: str, planned_at: datetime) -> str:
    """How holdings name a shard: a batch that is made again under the name of a deleted one is another."""
    return f"{path}@{planned_at:%Y%m%dT%H%M%S.%f}"


def shard_of(holder: str) -> str:
    """The folder of the shard that holdings name so, below the root."""
    return holder.rpartition("@")[0]
