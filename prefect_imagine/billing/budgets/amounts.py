"""What an item has cost or may have cost, by when that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import chain, repeat
from typing import Literal, NamedTuple

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import ways
from prefect_imagine.batches.state import ItemState, Phase

Kind = Literal["charged", "estimated", "possible", "open", "reserved"]
"""What one knows of an amount: as in a bill, where what is possible is `open` as long as it may be found out;
or `reserved` for a create that is still to be sent."""
SPENT: tuple[Kind, ...] = ("charged", "estimated", "possible", "open")
KINDS: tuple[Kind, ...] = (*SPENT, "reserved")


class Amount(NamedTuple):
    """Credits of one create, whose they are, and when it was asked for."""

    provider: str
    at: datetime | None
    kind: Kind
    credits: Decimal


def amounts_of(item: BatchItem, state: ItemState) -> Iterator[Amount]:
    """What all creates of an item have cost or may have cost, in all the same as `committed`."""
    for way in ways(item, state):
        yield from _amounts_of(way.item, way.state)


def _amounts_of(item: BatchItem, state: ItemState) -> Iterator[Amount]:
    provider = item.request.provider
    price = Decimal(str(item.estimate.credits or 0))
    for charge in state.charges:
        at = charge.at or state.intent_at
        if charge.credits is None:
            yield Amount(provider, at, "estimated", price)
        else:
            yield Amount(provider, at, "charged", Decimal(str(charge.credits)))
    earlier = repeat(state.intent_at, state.possible_jobs - len(state.possible_at))
    for at in chain(state.possible_at, earlier):
        yield Amount(provider, at, "possible", price)
    if state.phase is Phase.UNKNOWN:
        yield Amount(provider, state.intent_at, "possible", price)
    elif state.phase is Phase.OPEN:
        yield Amount(provider, state.intent_at, "open", price)
