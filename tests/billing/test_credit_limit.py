"""`max_credits`: what is spent and set aside never passes it, to the last decimal."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.billing.credit_limit import CreditLimit
from prefect_imagine.errors import BudgetExceededError


def reserves(limit: CreditLimit, provider: str, item: int, credits: int | float) -> bool:
    try:
        limit.reserve(provider, item, credits)
    except BudgetExceededError:
        return False
    return True


def test_without_a_limit_everything_is_taken() -> None:
    limit = CreditLimit(None, {})
    assert all(reserves(limit, "p", item, 10**12) for item in range(100))


def test_a_limit_may_be_reached_and_not_passed() -> None:
    limit = CreditLimit(10, {})
    assert reserves(limit, "p", 1, 6)
    assert reserves(limit, "q", 2, 4)
    assert not reserves(limit, "p", 3, 0.01)
    assert reserves(limit, "p", 4, 0)


def test_a_limit_of_nothing_takes_nothing_but_what_is_free() -> None:
    limit = CreditLimit(0, {})
    assert not reserves(limit, "p", 1, 1)
    assert reserves(limit, "p", 1, 0)


def test_a_refusal_says_what_of_what() -> None:
    limit = CreditLimit(10, {})
    limit.reserve("p", 1, 6)
    with pytest.raises(BudgetExceededError, match=r"item 2 \(5 credits\).*max_credits: 6 of 10"):
        limit.reserve("p", 2, 5)


def test_a_provider_s_own_limit_leaves_the_others_alone() -> None:
    limit = CreditLimit(100, {"p": 5})
    assert reserves(limit, "p", 1, 5)
    assert not reserves(limit, "p", 2, 1)
    assert reserves(limit, "q", 3, 95)
    assert not reserves(limit, "q", 4, 1)


def test_what_turned_out_dearer_counts_and_what_was_cheaper_is_free_again() -> None:
    limit = CreditLimit(10, {})
    limit.reserve("p", 1, 5)
    limit.settle(1, {"p": Decimal(8)})
    assert not reserves(limit, "p", 2, 3)
    limit.settle(1, {"p": Decimal(2)})
    assert reserves(limit, "p", 2, 8)


def test_a_charge_above_the_limit_is_counted_as_it_is() -> None:
    limit = CreditLimit(10, {})
    limit.reserve("p", 1, 5)
    limit.settle(1, {"p": Decimal(30)})
    assert not reserves(limit, "p", 2, 0.1)
    limit.settle(1, {"p": Decimal(0)})
    assert reserves(limit, "p", 2, 10)


def test_a_second_job_of_an_item_is_set_aside_beside_the_first() -> None:
    limit = CreditLimit(10, {})
    limit.reserve("p", 1, 5)
    assert reserves(limit, "p", 1, 5)
    assert not reserves(limit, "p", 1, 5)
    limit.settle(1, {"p": Decimal(5)})
    assert reserves(limit, "p", 1, 5)


def test_a_refused_reservation_sets_nothing_aside() -> None:
    limit = CreditLimit(10, {"p": 4})
    assert not reserves(limit, "p", 1, 5)
    assert not reserves(limit, "q", 1, 11)
    assert reserves(limit, "q", 2, 10)


def test_decimals_are_added_exactly() -> None:
    limit = CreditLimit(0.3, {})
    assert reserves(limit, "p", 1, 0.1)
    assert reserves(limit, "p", 2, 0.2)
    assert not reserves(limit, "p", 3, 1e-9)


cents = st.integers(0, 500).map(lambda each: each / 100)
steps = st.lists(
    st.tuples(st.sampled_from("pq"), st.integers(1, 6), cents, st.sampled_from(["reserve", "settle"])),
    max_size=60,
)


@given(total=cents, own=cents, steps=steps)
def test_reservations_never_pass_any_limit(
    total: float, own: float, steps: list[tuple[str, int, float, str]]
) -> None:
    """Against a model in whole hundredths; charges that pass the limit by themselves are the provider's."""
    limit = CreditLimit(total, {"p": own})
    aside: dict[tuple[str, int], int] = {}
    for provider, number, credits, step in steps:
        item, amount = (number if provider == "p" else number + 10), round(credits * 100)
        key = (provider, item)
        if step == "settle":
            limit.settle(item, {provider: Decimal(str(credits))})
            aside[key] = amount
            continue
        spent = sum(aside.values())
        own_spent = sum(each for (name, _), each in aside.items() if name == "p")
        fits = spent + amount <= round(total * 100)
        fits = fits and (provider != "p" or own_spent + amount <= round(own * 100))
        assert reserves(limit, provider, item, credits) == fits
        if fits:
            aside[key] = aside.get(key, 0) + amount
