"""The bill: what a batch cost, as exactly as the providers let it be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from prefect_imagine.billing.money import Money, add_money
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen


class ItemCounts(Frozen):
    """How many of a batch's items stand where; they add up to the total.

    Attributes:
        total: all of them.
        stored: those whose outputs are all in the store.
        failed: those that the provider refused or failed, and paid ones that could not be stored for now.
        unknown: those of which it cannot be found out whether they were created.
        under_way: paid for, or possibly so, and neither stored nor failed.
        planned: not created.
        withdrawn: not asked for any more, before they were created or after they had failed.
    """

    total: int = 0
    stored: int = 0
    failed: int = 0
    unknown: int = 0
    under_way: int = 0
    planned: int = 0
    withdrawn: int = 0

    @property
    def wanted(self) -> int:
        """How many are asked for."""
        return self.total - self.withdrawn

    @property
    def unfinished(self) -> int:
        """How many may still become anything."""
        return self.under_way + self.planned


def add_counts(parts: Iterable[ItemCounts]) -> ItemCounts:
    """How many of all of these stand where."""
    sums = Counter[str]()
    for part in parts:
        sums.update(part.model_dump())
    return ItemCounts(**sums)


MONEY = Field(default=(), exclude_if=lambda money: not money)
COUNTS = ("items", "stored", "failed", "unknown", "under_way", "withdrawn", "unpriced")
AMOUNTS = ("charged", "estimated", "possible")


class Tally(Frozen):
    """What some items came to and cost; `name` says which: a model, a label, … The credits are those of
    `ItemCost`.

    Attributes:
        name: which items they are.
        items: how many there are.
        stored: how many are in the store.
        failed: how many the provider refused or failed, or could not be stored for now.
        unknown: how many creates have an outcome that cannot be found out.
        under_way: how many are paid for, or possibly so, and neither stored nor failed.
        withdrawn: how many are not asked for any more.
        charged: credits that the provider says it charged.
        estimated: credits by a price list, where the provider reports none.
        possible: estimated credits of creates whose outcome is unknown.
        unpriced: how many have no price.
        money: what those of the credits cost of which a price in money is known.
    """

    name: str = ""
    items: int = 0
    stored: int = 0
    failed: int = 0
    unknown: int = 0
    under_way: int = 0
    withdrawn: int = 0
    charged: Credits = 0
    estimated: Credits = 0
    possible: Credits = 0
    unpriced: int = 0
    money: tuple[Money, ...] = MONEY


class UsageLine(Tally):
    """The bill of some items of a batch.

    Attributes:
        seconds: how long at least one of those that are stored was under way, from its last create to its
            stored output; time between runs counts only for what was left under way. `None` where none is
            stored.
    """

    seconds: float | None = None


class BalanceChange(Frozen):
    """An account's balance around one run, beside what the run's jobs cost.

    Attributes:
        provider: its name.
        before: credits at the run's beginning.
        after: credits at its end.
        charged: what the run's jobs cost.
        verdict: whether the balance fell by exactly that.
        note: the same in a sentence.
    """

    provider: str
    before: Credits
    after: Credits
    charged: Credits
    verdict: Literal["explained", "unexplained"]
    note: str


class Usage(Frozen):
    """The bill of a batch. Charged and estimated credits, and those of different providers, are different
    things: nothing adds them up.

    Attributes:
        batch_id: the batch.
        as_of: when the bill was written.
        items: how many there are.
        stored: how many are in the store.
        failed: how many the provider refused or failed, or could not be stored for now.
        unknown: how many creates have an outcome that cannot be found out.
        under_way: how many are paid for, or possibly so, and neither stored nor failed.
        planned: how many are not created.
        withdrawn: how many are not asked for any more.
        charged: credits that the provider says it charged.
        estimated: credits by a price list, where the provider reports none.
        possible: estimated credits of creates whose outcome is unknown.
        unpriced_items: how many have no price.
        refund_unknown_items: how many have failed, and their records do not say what of their cost was
            refunded.
        money: what those of the credits cost of which a price in money is known.
        by_provider: the same by provider.
        by_model: by `provider/kind/model`.
        by_label: by `label=value`.
        balances: accounts around the last run, where providers tell their balances.
    """

    batch_id: str
    as_of: datetime
    items: int
    stored: int
    failed: int
    unknown: int
    under_way: int = 0
    planned: int
    withdrawn: int = 0
    charged: Credits
    estimated: Credits
    possible: Credits
    unpriced_items: int
    refund_unknown_items: int
    money: tuple[Money, ...] = MONEY
    by_provider: tuple[UsageLine, ...]
    by_model: tuple[UsageLine, ...]
    by_label: tuple[UsageLine, ...]
    balances: tuple[BalanceChange, ...] = ()


def add_tallies(name: str, parts: Sequence[Tally]) -> Tally:
    """What the items of all these came to and cost together, under a name."""
    counts = {each: sum(getattr(part, each) for part in parts) for each in COUNTS}
    sums = {each: add_credits(getattr(part, each) for part in parts) for each in AMOUNTS}
    money = add_money(each for part in parts for each in part.money)
    return Tally(name=name, money=money, **counts, **sums)


def costs_of(line: UsageLine) -> tuple[Credits, ...]:
    """All that a line costs, or may cost, in one value to compare."""
    return (line.charged, line.estimated, line.possible, line.unpriced)


def balance_change(
    provider: str,
    before: Credits,
    after: Credits,
    charged: Credits,
    possible: Credits = 0,
    left: Credits = 0,
) -> BalanceChange:
    """Hold an account's change against the bill of one run.

    Args:
        possible: what creates of unknown fate cost besides, if they were accepted.
        left: what those cost, at most, whose answer or end an earlier run had not seen.
    """
    spent = add_credits([before, -after])
    difference = add_credits([spent, -charged])
    if difference == 0:
        verdict: Literal["explained", "unexplained"] = "explained"
        note = "the balance fell by exactly what the jobs cost"
    else:
        verdict = "unexplained"
        note = (
            f"the balance fell by {spent}, the jobs of this run cost {charged}: "
            f"{abs(difference)} {'more' if difference > 0 else 'less'} than billed, by "
        )
        if 0 < difference <= possible:
            note += (
                f"creates whose fate is unknown ({possible} credits possible), or other use of the account"
            )
        elif 0 < -difference <= left:
            note += f"creates of an earlier run, which were paid before this one ({left} credits at most)"
        else:
            note += "other use of the account, a top-up, or a refund that the records do not show"
    return BalanceChange(
        provider=provider, before=before, after=after, charged=charged, verdict=verdict, note=note
    )
