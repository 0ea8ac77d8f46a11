"""The bill: what a batch cost, as exactly as the providers let it be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, Charge, ItemState, Phase
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen


class ItemCost(Frozen):
    """What one item cost, over all of its jobs.

    Attributes:
        charged: as the provider said.
        estimated: by a price list, for jobs of which the provider said nothing.
        possible: estimated, for a create whose fate is unknown.
        unpriced: jobs with neither; they are in none of the sums.
        refund_unknown: a failed job's charge stands in `charged` or `estimated`, and whether it was given
            back could not be learned.
    """

    charged: Credits = 0
    estimated: Credits = 0
    possible: Credits = 0
    unpriced: int = 0
    refund_unknown: bool = False


COUNTS = ("items", "stored", "failed", "unknown", "unpriced")
AMOUNTS = ("charged", "estimated", "possible")


class Tally(Frozen):
    """What some items came to and cost; `name` says which: a model, a label, … The credits are those of
    `ItemCost`."""

    name: str = ""
    items: int = 0
    stored: int = 0
    failed: int = 0
    unknown: int = 0
    charged: Credits = 0
    estimated: Credits = 0
    possible: Credits = 0
    unpriced: int = 0


class UsageLine(Tally):
    """The bill of some items of a batch.

    Attributes:
        seconds: how long at least one of those that are stored was under way, from its last create to its
            stored output; time between runs counts only for what was left under way. `None` where none is
            stored.
    """

    seconds: float | None = None


class BalanceChange(Frozen):
    """An account's balance around one run, beside what the run's jobs cost."""

    provider: str
    before: Credits
    after: Credits
    charged: Credits
    verdict: Literal["explained", "unexplained"]
    note: str


class Usage(Frozen):
    """The bill of a batch. Charged and estimated credits, and those of different providers, are different
    things: nothing adds them up."""

    batch_id: str
    as_of: datetime
    items: int
    stored: int
    failed: int
    unknown: int
    under_way: int = 0
    planned: int
    charged: Credits
    estimated: Credits
    possible: Credits
    unpriced_items: int
    refund_unknown_items: int
    by_provider: tuple[UsageLine, ...]
    by_model: tuple[UsageLine, ...]
    by_label: tuple[UsageLine, ...]
    balances: tuple[BalanceChange, ...] = ()


def item_cost(item: BatchItem, state: ItemState) -> ItemCost:
    """What one item has cost so far."""
    charged = [charge.credits for charge in state.charges if charge.credits is not None]
    silent = [charge for charge in state.charges if charge.credits is None]
    price = item.estimate.credits
    possible = state.possible_jobs + (state.phase in (Phase.UNKNOWN, Phase.OPEN))
    return ItemCost(
        charged=add_credits(charged),
        estimated=add_credits([price] * len(silent)) if price is not None else 0,
        possible=add_credits([price] * possible) if price is not None else 0,
        unpriced=(len(silent) + possible) if price is None else 0,
        refund_unknown=any(_refund_unknown(charge) for charge in state.charges),
    )


def committed(item: BatchItem, state: ItemState) -> Credits:
    """Credits that an item has or may have cost."""
    cost = item_cost(item, state)
    return add_credits([cost.charged, cost.estimated, cost.possible])


def _refund_unknown(charge: Charge) -> bool:
    return charge.refund == "unknown"


def make_usage(
    plan: Plan, state: BatchState, as_of: datetime, balances: Iterable[BalanceChange] = ()
) -> Usage:
    """The bill of a batch by its journal."""
    costs = {item.index: item_cost(item, state[item.index]) for item in plan.items}
    tallies = {index: tally_of(state[index], cost) for index, cost in costs.items()}

    def line(name: str, chosen: Sequence[BatchItem]) -> UsageLine:
        tally = add_tallies(name, [tallies[item.index] for item in chosen])
        seconds = _seconds(state[item.index] for item in chosen)
        return UsageLine(**tally.model_dump(), seconds=seconds)

    def lines(names: Callable[[BatchItem], list[str]]) -> tuple[UsageLine, ...]:
        groups: dict[str, list[BatchItem]] = {}
        for item in plan.items:
            for name in names(item):
                groups.setdefault(name, []).append(item)
        return tuple(line(name, chosen) for name, chosen in groups.items())

    everything = line("", plan.items)
    under_way = sum(is_under_way(state[item.index]) for item in plan.items)
    return Usage(
        batch_id=plan.batch_id,
        as_of=as_of,
        items=everything.items,
        stored=everything.stored,
        failed=everything.failed,
        unknown=everything.unknown,
        under_way=under_way,
        planned=everything.items - everything.stored - everything.failed - everything.unknown - under_way,
        charged=everything.charged,
        estimated=everything.estimated,
        possible=everything.possible,
        unpriced_items=sum(1 for cost in costs.values() if cost.unpriced),
        refund_unknown_items=sum(1 for cost in costs.values() if cost.refund_unknown),
        by_provider=lines(lambda item: [item.request.provider]),
        by_model=lines(lambda item: [model_name(item)]),
        by_label=lines(
            lambda item: [f"{name}={value}" for name, value in sorted(item.request.labels.items())]
        ),
        balances=tuple(balances),
    )


def model_name(item: BatchItem) -> str:
    """Provider, kind and model in one word."""
    request = item.request
    return f"{request.provider}/{request.kind}/{request.model or 'default'}"


def tally_of(state: ItemState, cost: ItemCost) -> Tally:
    """What one item came to and cost."""
    ended = outcome(state)
    return Tally(
        items=1,
        stored=ended == "stored",
        failed=ended == "failed",
        unknown=ended == "unknown",
        charged=cost.charged,
        estimated=cost.estimated,
        possible=cost.possible,
        unpriced=cost.unpriced,
    )


def add_tallies(name: str, parts: Sequence[Tally]) -> Tally:
    """What the items of all these came to and cost together, under a name."""
    counts = {each: sum(getattr(part, each) for part in parts) for each in COUNTS}
    sums = {each: add_credits(getattr(part, each) for part in parts) for each in AMOUNTS}
    return Tally(name=name, **counts, **sums)


def is_under_way(state: ItemState) -> bool:
    """Whether an item is paid for, or may be, and may yet be stored."""
    return outcome(state) == "planned" and state.phase is not Phase.PLANNED


def outcome(state: ItemState) -> Literal["stored", "failed", "unknown", "planned"]:
    """How an item is counted: a paid job that could not be stored yet has failed, for now."""
    if state.phase is Phase.STORED:
        return "stored"
    if state.phase is Phase.UNKNOWN:
        return "unknown"
    failed_for_now = state.phase in (Phase.CREATED, Phase.FINISHED) and state.reason is not None
    return "failed" if state.phase is Phase.FAILED or failed_for_now else "planned"


def _seconds(states: Iterable[ItemState]) -> float | None:
    """How long at least one of the stored items was under way, by this side's clock."""
    spans = sorted(
        (state.intent_at, state.stored_at)
        for state in states
        if state.intent_at is not None and state.stored_at is not None
    )
    if not spans:
        return None
    total = timedelta()
    covered = spans[0][0]
    for begun, ended in spans:
        total += max(ended - max(begun, covered), timedelta())
        covered = max(covered, ended)
    return round(total.total_seconds(), 1)


def costs_of(line: UsageLine) -> tuple[Credits, ...]:
    """All that a line costs, or may cost, in one value to compare."""
    return (line.charged, line.estimated, line.possible, line.unpriced)


def balance_change(
    provider: str, before: Credits, after: Credits, charged: Credits, possible: Credits = 0
) -> BalanceChange:
    """Hold an account's change against the bill of one run, in which creates of unknown fate possibly cost
    so much more."""
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
        else:
            note += "other use of the account, a top-up, or a refund that the records do not show"
    return BalanceChange(
        provider=provider, before=before, after=after, charged=charged, verdict=verdict, note=note
    )
