"""Credits as they added up over a batch's time, by model: what the report draws of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate
from math import ceil, floor, log10
from typing import Any

from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.reports.manifest import ManifestItem

WIDTH, HEIGHT = 240, 100
MOST_BANDS = 5
# The last step would have no width at the very edge.
MARGIN = 0.03
OTHERS = "other models"

Cost = tuple[datetime, str, Credits]


@dataclass(frozen=True)
class Band:
    """One model's part of a chart.

    Attributes:
        sums: its credits so far, by column.
        path: an SVG path around it and everything below it: draw the last band first.
    """

    name: str
    sums: Sequence[Credits]
    path: str


@dataclass(frozen=True)
class Chart:
    """Credits of one provider and one kind of amount over time, in `WIDTH` columns; models stacked.

    Attributes:
        amount: `charged` or `estimated`, which are different things and never in one chart.
        begun, ended: the ends of the time axis.
        ticks: amounts beside the chart, with their heights in percent.
        bands: the most expensive model first, which lies at the bottom.
    """

    amount: str
    begun: datetime
    ended: datetime
    ticks: Sequence[tuple[Credits, float]]
    bands: Sequence[Band]

    @property
    def middle(self) -> datetime:
        """The time half way."""
        return self.begun + (self.ended - self.begun) / 2

    @property
    def readings(self) -> dict[str, Any]:
        """What the page's script shows of a column; times in epoch milliseconds."""
        return {
            "begun": round(self.begun.timestamp() * 1000),
            "ended": round(self.ended.timestamp() * 1000),
            "bands": [{"name": band.name, "sums": band.sums} for band in self.bands],
        }

    def band_of(self, model: str) -> int:
        """The place among the bands of the one that a model (`kind/model`) is in."""
        names = [band.name for band in self.bands]
        return names.index(model) if model in names else len(names) - 1


def credit_chart(
    items: Iterable[ManifestItem], provider: str, amount: str, begun: datetime, ended: datetime
) -> Chart | None:
    """The chart of a provider's charged or estimated credits; `None` where there are none, or no time."""
    costs = list(_costs(items, provider, amount))
    if not costs or begun >= ended:
        return None
    ended += (ended - begun) * MARGIN
    sums = _sums(costs, begun, ended)
    stacks = list(accumulate(sums.values(), _stacked))
    ticks = _ticks(stacks[-1][-1])
    bands = [
        Band(name, sums[name], _area(stack, ticks[-1])) for name, stack in zip(sums, stacks, strict=True)
    ]
    return Chart(amount, begun, ended, [(tick, 100 * tick / ticks[-1]) for tick in ticks], bands)


def _costs(items: Iterable[ManifestItem], provider: str, amount: str) -> Iterable[Cost]:
    for item in items:
        at = item.stored_at or item.finished_at or item.created_at
        credits = getattr(item.credits, amount)
        if item.request.provider == provider and credits and at is not None:
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
            yield at, f"{item.request.kind}/{item.request.model or 'default'}", credits


def _sums(costs: Sequence[Cost], begun: datetime, ended: datetime) -> Mapping[str, Sequence[Credits]]:
    """The sums so far by model and column, the highest first and the lowest together."""
    totals: dict[str, Credits] = {}
    for _, name, credits in costs:
        totals[name] = _plus(totals.get(name, 0), credits)
    ranked = sorted(totals, key=lambda name: -totals[name])
    alone = ranked if len(ranked) <= MOST_BANDS else ranked[: MOST_BANDS - 1]
    added = {name if name in alone else OTHERS: [Decimal(0)] * (WIDTH + 1) for name in ranked}
    for at, name, credits in costs:
        # A provider's clock may be ahead of this side's, or behind it.
        column = min(max(round(WIDTH * ((at - begun) / (ended - begun))), 0), WIDTH)
        added[name if name in alone else OTHERS][column] += Decimal(str(credits))
    return {name: [add_credits([each]) for each in accumulate(columns)] for name, columns in added.items()}


def _plus(one: Credits, other: Credits) -> Credits:
    return add_credits([one, other])


def _stacked(below: Sequence[Credits], above: Sequence[Credits]) -> Sequence[Credits]:
    return [_plus(*pair) for pair in zip(below, above, strict=True)]


def _ticks(most: Credits) -> Sequence[Credits]:
    """Two to five round amounts, evenly apart, of which the last is not below `most`."""
    power = 10 ** floor(log10(most / 2))
    step = max(power * factor for factor in (1, 2, 5) if power * factor <= most / 2)
    return list(accumulate([step] * ceil(most / step), _plus))


def _area(stack: Sequence[Credits], top: Credits) -> str:
    heights = [f"{HEIGHT * (1 - value / top):.4g}" for value in stack]
    corners = [
        f"H{column}V{height}"
        for column, height in enumerate(heights)
        if column == 0 or height != heights[column - 1]
    ]
    return f"M0 {HEIGHT}{''.join(corners)}H{WIDTH}V{HEIGHT}Z"
