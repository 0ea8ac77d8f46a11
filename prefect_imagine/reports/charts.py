"""Credits as they added up over a batch's time, by model: what the report draws of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class CreditCharts:
    """Adds items up to the charts of all providers, column by column.

    Args:
        begun, ended: when the first of them begins and the last one ends.
    """

    def __init__(self, begun: datetime, ended: datetime) -> None:
        self._begun = begun
        self._ended = ended + (ended - begun) * MARGIN
        self._columns: dict[tuple[str, str], dict[str, list[Decimal]]] = {}

    def add(self, item: ManifestItem) -> None:
        """Take an item in, at the time when it was paid for, as far as that is known."""
        at = item.stored_at or item.finished_at or item.created_at
        if at is None or self._begun >= self._ended:
            return
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        # A provider's clock may be ahead of this side's, or behind it.
        column = min(max(round(WIDTH * ((at - self._begun) / (self._ended - self._begun))), 0), WIDTH)
        name = f"{item.request.kind}/{item.request.model or 'default'}"
        for amount in ("charged", "estimated"):
            credits = getattr(item.credits, amount)
            if credits:
                models = self._columns.setdefault((item.request.provider, amount), {})
                models.setdefault(name, _empty())[column] += Decimal(str(credits))

    def chart(self, provider: str, amount: str) -> Chart | None:
        """The chart of a provider's charged or estimated credits; `None` where there are none, or no time."""
        models = self._columns.get((provider, amount))
        if not models:
            return None
        sums = _sums(models)
        stacks = list(accumulate(sums.values(), _stacked))
        ticks = _ticks(stacks[-1][-1])
        bands = [
            Band(name, sums[name], _area(stack, ticks[-1])) for name, stack in zip(sums, stacks, strict=True)
        ]
        heights = [(tick, 100 * tick / ticks[-1]) for tick in ticks]
        return Chart(amount, self._begun, self._ended, heights, bands)


def _empty() -> list[Decimal]:
    return [Decimal(0)] * (WIDTH + 1)


def _sums(models: Mapping[str, Sequence[Decimal]]) -> Mapping[str, Sequence[Credits]]:
    """The sums so far by model and column, the highest first and the lowest together."""
    totals = {name: sum(columns, Decimal(0)) for name, columns in models.items()}
    ranked = sorted(totals, key=lambda name: -totals[name])
    alone = ranked if len(ranked) <= MOST_BANDS else ranked[: MOST_BANDS - 1]
    added: dict[str, list[Decimal]] = {}
    for name in ranked:
        shown = added.setdefault(name if name in alone else OTHERS, _empty())
        for column, amount in enumerate(models[name]):
            shown[column] += amount
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
