"""What a generation is expected to cost."""

from __future__ import annotations

import pytest

from prefect_imagine.providers.models import Estimate
from prefect_imagine.providers.prices import PriceList, estimate

from .clients import MODELS, asked

MODEL = MODELS["imaginelab"]


@pytest.mark.parametrize(
    ("prices", "price"),
    [
        (PriceList(), None),
        (PriceList(default=3), 3),
        (PriceList(default=3, kinds={"image": 4}), 4),
        (PriceList(default=3, kinds={"image": 4}, models={MODEL: 5}), 5),
        (PriceList(kinds={"video": 4}, models={"other": 5}), None),
        (PriceList(default=3, models={MODEL: 0}), 0),
    ],
)
def test_the_most_particular_price_holds(prices: PriceList, price: int | None) -> None:
    assert prices.price(asked("imaginelab")) == price


def test_one_list_falls_back_to_another() -> None:
    own, other = PriceList(models={"a": 1}), PriceList(default=9, models={"a": 2, "b": 3}, kinds={"text": 4})
    assert own.over(other) == PriceList(default=9, models={"a": 1, "b": 3}, kinds={"text": 4})
    assert PriceList(default=0).over(other).default == 0


@pytest.mark.parametrize(
    ("prices", "catalog", "expected"),
    [
        (PriceList(default=7), {MODEL: 5}, Estimate(credits=7, source="price list")),
        (PriceList(), {MODEL: 5}, Estimate(credits=5, source="catalog")),
        (PriceList(), {"other": 5}, Estimate(credits=None, source="unpriced")),
        (PriceList(default=0), {MODEL: 5}, Estimate(credits=0, source="price list")),
    ],
)
def test_estimates_name_their_source(prices: PriceList, catalog: dict[str, int], expected: Estimate) -> None:
    assert estimate(asked("imaginelab"), prices, catalog) == expected
