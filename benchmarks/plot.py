"""A bar chart as SVG, written by hand so that nothing has to be installed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABELS, BAR, GAP, TITLE = 760, 250, 18, 8, 34
COLOURS = {"ours": "#2f6f4f", "naive": "#b5533c", "bound": "#8a8f98"}


@dataclass(frozen=True)
class Bar:
    """One value; `who` is `ours`, `naive` or `bound`."""

    label: str
    value: float
    who: str


@dataclass(frozen=True)
class Chart:
    """Bars on one scale."""

    title: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        """Pixels."""
        return TITLE + len(self.bars) * (BAR + GAP) + GAP


def svg(charts: Sequence[Chart]) -> str:
    """The charts one below the other."""
    height = sum(chart.height for chart in charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    top = 0
    for chart in charts:
        parts += _chart(chart, top)
        top += chart.height
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart, top: int) -> list[str]:
    longest = max((bar.value for bar in chart.bars), default=0.0) or 1.0
    parts = [f'<text x="12" y="{top + 22}" font-weight="600">{escape(chart.title)}</text>']
    for place, bar in enumerate(chart.bars):
        y = top + TITLE + place * (BAR + GAP)
        width = (WIDTH - LABELS - 90) * bar.value / longest
        parts += [
            f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[bar.who]}"/>',
            f'<text x="{LABELS + width + 6:.1f}" y="{y + 13}">{bar.value:,.2f}</text>',
        ]
    return parts
