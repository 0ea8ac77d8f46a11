"""What one shard of a batch may cost where others run the rest: its share of `max_credits`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_FLOOR, Decimal

from pydantic import Field

from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen

NONE = Decimal(0)
_SMALLEST = Decimal("0.000001")


class Portion(Frozen):
    """What a shard has cost, and what its creates are expected to cost, in credits by provider.

    Attributes:
        committed: charged, estimated and possible so far.
        expected: of what is still to be created.
    """

    committed: dict[str, Credits] = Field(default_factory=dict)
    expected: dict[str, Credits] = Field(default_factory=dict)


def shares(
    limit: Credits, carried: Credits, portions: Mapping[int, Portion], provider: str | None = None
) -> dict[int, Credits]:
    """What each shard may cost so that all together stay within a limit, by its number.

    Whoever comes first gets what it is expected to need, as one process creates them in order; what is left
    over after the last is divided among all.

    Args:
        carried: what shards have cost that are not among these.
        provider: whose credits are meant; all together where none is named.
    """
    held = {number: _sum(each.committed, provider) for number, each in portions.items()}
    rest = max(NONE, Decimal(str(limit)) - Decimal(str(carried)) - sum(held.values(), NONE))
    given: dict[int, Decimal] = {}
    for number in sorted(portions):
        given[number] = min(rest, _sum(portions[number].expected, provider))
        rest -= given[number]
    over = (rest / max(1, len(portions))).quantize(_SMALLEST, rounding=ROUND_FLOOR)
    return {number: add_credits([held[number], given[number], over]) for number in portions}


def suffices(
    limit: Credits, carried: Credits, portions: Mapping[int, Portion], provider: str | None = None
) -> bool:
    """Whether a limit is enough for all that was spent, and is expected to be."""
    needed = (_sum(each.committed, provider) + _sum(each.expected, provider) for each in portions.values())
    return Decimal(str(carried)) + sum(needed, NONE) <= Decimal(str(limit))


def committed(portion: Portion, provider: str | None = None) -> Credits:
    """What a shard has cost."""
    return add_credits([_sum(portion.committed, provider)])


def total_of(amounts: Iterable[Mapping[str, Credits]]) -> dict[str, Credits]:
    """Amounts by provider, added up."""
    known: dict[str, Credits] = {}
    for each in amounts:
        for provider, credits in each.items():
            known[provider] = add_credits([known.get(provider, 0), credits])
    return known


def _sum(amounts: Mapping[str, Credits], provider: str | None) -> Decimal:
    found = (credits for name, credits in amounts.items() if provider in (None, name))
    return sum((Decimal(str(credits)) for credits in found), NONE)
