"""Amounts of credits: read from any notation, added exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.providers.credits import add_credits, credits_or_none
from prefect_imagine.providers.models import Balance

from .properties import relaxed


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), (5.0, 5), ("5", 5), ("5.00", 5), (" 5 ", 5), (0.5, 0.5), ("1e2", 100), (0, 0), (-3, -3)],
)
def test_amounts(value: object, expected: float) -> None:
    amount = credits_or_none(value)
    assert (amount, type(amount)) == (expected, type(expected))


@pytest.mark.parametrize("value", [None, True, "", "five", "NaN", float("inf"), [], {}])
def test_what_is_no_amount(value: object) -> None:
    assert credits_or_none(value) is None


def test_tenths_add_up() -> None:
    assert add_credits([0.1] * 3) == 0.3
    assert add_credits([0.1] * 10) == 1
    assert add_credits([]) == 0


@relaxed
@given(st.lists(st.decimals(0, 10**6, places=2), max_size=200))
def test_sums_are_exact(amounts: list[Decimal]) -> None:
    total = add_credits([float(amount) for amount in amounts])
    assert Decimal(str(total)) == sum(amounts, Decimal(0))


def test_models_take_any_notation() -> None:
    assert Balance(provider="x", credits="12.50").credits == 12.5
