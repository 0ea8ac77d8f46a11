"""The pace against simulated servers, on a clock of their own: no 429 at all, and nearly the whole limit."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_imagine.sandbox.core.settings import LimitKind, RateLimit

from .properties import relaxed
from .simulated import Run


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
