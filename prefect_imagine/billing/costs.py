"""What one item came to, and what it cost over all of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import ways
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import CreditPrice, Frozen


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


class Cost(NamedTuple):
    """The same as exact decimals, to be added up; `price` is what one of the credits costs in money."""

    charged: Decimal
    estimated: Decimal
    possible: Decimal
    unpriced: int
    refund_unknown: bool
    price: CreditPrice | None = None


Place = Literal["stored", "failed", "unknown", "under_way", "open", "planned", "withdrawn"]
"""Where an item is. Under way: created, and neither stored nor failed. Open: sent, and not answered."""

_NOTHING = Decimal(0)
_FREE = Cost(_NOTHING, _NOTHING, _NOTHING, 0, refund_unknown=False)
_NO_AMOUNTS: Mapping[str, Decimal] = MappingProxyType({})
_UNFINISHED: dict[Phase, Place] = {
    Phase.OPEN: "open",
    Phase.CREATED: "under_way",
    Phase.FINISHED: "under_way",
}


def cost_of(item: BatchItem, state: ItemState) -> Cost:
    """What one item has cost so far in its present way, exactly."""
    if not (state.charges or state.possible_jobs) and state.phase not in (Phase.UNKNOWN, Phase.OPEN):
        return _FREE
    price = item.estimate.credits
    silent = sum(charge.credits is None for charge in state.charges)
    possible = state.possible_jobs + (state.phase in (Phase.UNKNOWN, Phase.OPEN))
    each = None if price is None else Decimal(str(price))
    return Cost(
        charged=sum((Decimal(str(each.credits)) for each in state.charges if each.credits), _NOTHING),
        estimated=each * silent if each is not None else _NOTHING,
        possible=each * possible if each is not None else _NOTHING,
        unpriced=silent + possible if each is None else 0,
        refund_unknown=any(charge.refund == "unknown" for charge in state.charges),
        price=item.estimate.credit_price,
    )


def item_cost(item: BatchItem, state: ItemState) -> ItemCost:
    """What one item has cost so far, in all of its ways."""
    return _told(total_cost(item, state))


def way_cost(item: BatchItem, state: ItemState) -> ItemCost:
    """What one item has cost so far, in its present way."""
    return _told(cost_of(item, state))


def _told(cost: Cost) -> ItemCost:
    return ItemCost(
        charged=add_credits([cost.charged]),
        estimated=add_credits([cost.estimated]),
        possible=add_credits([cost.possible]),
        unpriced=cost.unpriced,
        refund_unknown=cost.refund_unknown,
    )


def total_cost(item: BatchItem, state: ItemState) -> Cost:
    """The same, exactly: credits of different providers are added up."""
    costs = [cost_of(way.item, way.state) for way in ways(item, state)]
    return Cost(
        charged=sum((cost.charged for cost in costs), _NOTHING),
        estimated=sum((cost.estimated for cost in costs), _NOTHING),
        possible=sum((cost.possible for cost in costs), _NOTHING),
        unpriced=sum(cost.unpriced for cost in costs),
        refund_unknown=any(cost.refund_unknown for cost in costs),
    )


def committed(item: BatchItem, state: ItemState) -> Mapping[str, Decimal]:
    """Credits that an item has or may have cost, by provider."""
    amounts: dict[str, Decimal] = {}
    for way in ways(item, state):
        cost, provider = cost_of(way.item, way.state), way.item.request.provider
        if cost is not _FREE:
            spent = cost.charged + cost.estimated + cost.possible
            amounts[provider] = amounts.get(provider, _NOTHING) + spent
    return amounts or _NO_AMOUNTS  # most items of a batch have cost nothing yet: they share one


def outcome(state: ItemState) -> Literal["stored", "failed", "unknown", "planned", "withdrawn"]:
    """How an item is counted: a paid job that could not be stored yet has failed, for now."""
    if state.phase is Phase.WITHDRAWN:
        return "withdrawn"
    if state.phase is Phase.STORED:
        return "stored"
    if state.phase is Phase.UNKNOWN:
        return "unknown"
    failed_for_now = state.phase in (Phase.CREATED, Phase.FINISHED) and state.reason is not None
    return "failed" if state.phase is Phase.FAILED or failed_for_now else "planned"


def place_of(state: ItemState) -> Place:
    """Where an item is."""
    ended = outcome(state)
    return _UNFINISHED.get(state.phase, "planned") if ended == "planned" else ended


def model_name(item: BatchItem) -> str:
    """Provider, kind and model in one word."""
    request = item.request
    return f"{request.provider}/{request.kind}/{request.model or 'default'}"
