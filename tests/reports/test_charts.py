"""The chart of credits over time: exact sums, round ticks, and no two kinds of amounts in one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from prefect_imagine.billing.costs import ItemCost
from prefect_imagine.reports.charts import HEIGHT, MOST_BANDS, OTHERS, WIDTH, Chart, CreditCharts
from prefect_imagine.reports.manifest import ManifestItem
from tests.reports.report_items import BEGUN, make_item

ENDED = BEGUN + timedelta(seconds=100)


def chart_of(items: Iterable[ManifestItem], amount: str, ended: datetime = ENDED) -> Chart | None:
    charts = CreditCharts(BEGUN, ended)
    for item in items:
        charts.add(item)
    return charts.chart("imaginelab", amount)


def charted(*items: ManifestItem, amount: str = "charged") -> Chart:
    chart = chart_of(items, amount)
    assert chart is not None
    return chart


def spent(credits: float, model: str = "flux", second: int = 50, **known: object) -> ManifestItem:
    at = BEGUN + timedelta(seconds=second)
    return make_item(model=model, cost=ItemCost(charged=credits), **{"stored_at": at, **known})  # type: ignore[arg-type]


def test_credits_add_up_over_time_by_model_the_dearest_first() -> None:
    chart = charted(spent(0.1, second=0), spent(0.2, second=100), spent(5, "video", 50))
    assert [(band.name, band.sums[0], band.sums[-1]) for band in chart.bands] == [
        ("image/video", 0, 5),
        ("image/flux", 0.1, 0.3),
    ]
    assert all(len(band.sums) == WIDTH + 1 for band in chart.bands)
    assert chart.bands[0].sums.index(5) == round(WIDTH / 2 / 1.03)


def test_bands_lie_upon_each_other() -> None:
    chart = charted(spent(6, "video", 0), spent(2, "flux", 0))
    heights = [re.findall(r"V([\d.]+)", band.path) for band in chart.bands]
    assert heights == [["25", str(HEIGHT)], ["0", str(HEIGHT)]]


def test_the_cheapest_models_share_a_band() -> None:
    chart = charted(*(spent(credits, f"m{credits}") for credits in range(1, 9)))
    assert [band.name for band in chart.bands] == [*(f"image/m{n}" for n in (8, 7, 6, 5)), OTHERS]
    assert chart.bands[-1].sums[-1] == 4 + 3 + 2 + 1
    assert [chart.band_of(f"image/m{n}") for n in (8, 5, 4, 1)] == [0, 3, MOST_BANDS - 1, MOST_BANDS - 1]


def test_amounts_of_other_providers_and_kinds_are_left_out() -> None:
    items = (spent(5), spent(7, provider="imagineapi"), make_item(cost=ItemCost(estimated=3)))
    assert charted(*items).bands[0].sums[-1] == 5
    assert charted(*items, amount="estimated").bands[0].sums[-1] == 3


def test_there_is_no_chart_of_nothing() -> None:
    assert chart_of([make_item()], "charged") is None
    assert chart_of([spent(5)], "charged", BEGUN) is None


def test_times_of_another_clock_stay_in_the_chart() -> None:
    chart = charted(spent(5, second=-30), spent(5, second=500))
    assert (chart.bands[0].sums[0], chart.bands[0].sums[-2], chart.bands[0].sums[-1]) == (5, 5, 10)


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0.03, [0.01, 0.02, 0.03]),
        (1, [0.5, 1]),
        (5, [2, 4, 6]),
        (99, [20, 40, 60, 80, 100]),
        (533, [200, 400, 600]),
        (19_592, [5_000, 10_000, 15_000, 20_000]),
    ],
)
def test_ticks_are_round_and_reach_over_the_sum(most: float, ticks: list[float]) -> None:
    found = charted(spent(most)).ticks
    assert [value for value, _ in found] == ticks
    assert found[-1][1] == 100
