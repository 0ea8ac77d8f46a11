"""The pace against simulated servers, on a clock of their own: no 429 at all, and nearly the whole limit."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.sandbox.core.settings import LimitKind, RateLimit

from .properties import relaxed
from .simulated import Key, Machine, Run, greedy


def latencies_below(longest: float) -> st.SearchStrategy[list[float]]:
    """Seconds that requests take, there and back."""
    return st.lists(st.floats(0.01, longest), min_size=1, max_size=20)


@relaxed
@given(limit=st.integers(5, 80), seconds=st.floats(5, 90), latencies=latencies_below(3.0))
# An answer under way for long, just before the reset, seems to speak of a later one.
@example(limit=80, seconds=85.5, latencies=[0.125, 0.875, 0.0625, 2.0, 2.0, 2.5])
def test_a_fixed_window_is_followed_without_a_single_429(
    limit: int, seconds: float, latencies: list[float]
) -> None:
    run = Run(RateLimit(limit, seconds, "fixed", headers=True), latencies)
    run.send(3 * limit)
    assert run.refusals == 0


@pytest.mark.parametrize("kind", ["sliding", "bucket"])
@pytest.mark.parametrize("seed", range(5))
def test_limits_of_other_kinds_are_followed_with_hardly_a_429(kind: LimitKind, seed: int) -> None:
    dice = random.Random(seed)
    latencies = [dice.uniform(0.02, 1.0) for _ in range(20)]
    run = Run(RateLimit(60, 60.0, kind, headers=True), latencies)
    run.send(240)
    assert run.refusals <= 240 * 0.02


@pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
def test_nearly_the_whole_limit_is_used(kind: LimitKind) -> None:
    run = Run(RateLimit(60, 60.0, kind, headers=True), [0.2, 0.4, 1.0])
    seconds = run.send(600)
    assert run.refusals == 0
    assert 600 / seconds > 0.95


def shared(
    rule: RateLimit, number: int, seed: int, rate: Rate | None = None, known: int | None = None
) -> list[Machine]:
    """So many machines that know of each other, after ten windows in which all want more than there is."""
    dice = random.Random(seed)
    random.seed(seed)
    pace = Pace(machines=known or number, window=rule.window_seconds)
    machines = [greedy(dice, rule, pace, rate) for _ in range(number)]
    Key(rule, machines).run(10 * rule.window_seconds)
    return machines


def refused(machines: list[Machine]) -> float:
    """How many of all requests were refused."""
    refusals = sum(len(each.refused) for each in machines)
    return refusals / sum(each.sent for each in machines)


def used(rule: RateLimit, machines: list[Machine]) -> float:
    """How much of the limit was used, without the first window."""
    passed = sum(at > rule.window_seconds for each in machines for at in each.landed)
    return passed / (9 * (rule.limit or 1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("limit", "seconds"), [(60, 60.0), (100, 10.0), (600, 60.0)])
@pytest.mark.parametrize("number", [2, 4, 10])
def test_machines_that_know_of_each_other_use_a_window_with_hardly_a_429(
    number: int, limit: int, seconds: float, seed: int
) -> None:
    rule = RateLimit(limit, seconds, "fixed", headers=True)
    machines = shared(rule, number, seed)
    assert refused(machines) < 0.01
    # Resets are told in whole seconds: up to one of each window is lost.
    assert used(rule, machines) > 0.95 - 1 / seconds
    shares = [len(each.landed) for each in machines]
    assert min(shares) > 0.5 * max(shares)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("number", "most"), [(2, 0.02), (4, 0.04), (10, 0.08)])
def test_where_requests_come_free_one_by_one_each_takes_the_place_of_its_own_last(
    number: int, most: float, seed: int
) -> None:
    rule = RateLimit(60, 60.0, "sliding", headers=True)
    machines = shared(rule, number, seed)
    assert refused(machines) < most
    assert used(rule, machines) > 0.87
    assert refused(shared(rule, number, seed, known=1)) > 3 * most, "without knowing of each other"


def test_a_bucket_is_shared_without_a_429() -> None:
    rule = RateLimit(60, 60.0, "bucket", headers=True)
    machines = shared(rule, 10, 0)
    assert refused(machines) == 0
    assert used(rule, machines) > 0.9


def test_a_configured_rate_is_divided() -> None:
    rule = RateLimit(60, 60.0, "sliding", headers=False)
    machines = shared(rule, 6, 0, Rate(60, 60.0))
    assert refused(machines) < 0.01
    assert used(rule, machines) > 0.9


@pytest.mark.parametrize("kind", ["fixed", "sliding"])
def test_machines_that_begin_at_once_notice_each_other(kind: LimitKind) -> None:
    """Each thinks at first that there is room for all that it wants."""
    rule = RateLimit(60, 20.0, kind, headers=True)
    machines = [Machine([0.3, 0.4, 0.5], wanted=40, again=True, begins=0.05 * number) for number in range(3)]
    Key(rule, machines).run(15.0)
    assert sum(len(each.refused) for each in machines) <= 3
    assert sum(len(each.landed) for each in machines) > 50
