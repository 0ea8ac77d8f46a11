"""Measurements that are wrong, or are no longer right, are found out: a pace too slow costs hours."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from prefect_imagine.providers.limits import measuring, rates, stepping
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.limits.measuring import Measured
from prefect_imagine.providers.limits.pace import Pace

BOOT = 1000.0
LATENCY = 0.2
SILENT = RateHeaders.of({}, BOOT)
Limit = Callable[[float, list[float]], bool]
"""Whether a request passes, so many seconds after the first, beside those that have passed."""


def per_window(limit: int, seconds: float, others: int = 0) -> Limit:
    """So many requests a window, of which others use some of the first."""

    def passes(now: float, passed: list[float]) -> bool:
        window = math.floor(now / seconds)
        used = sum(1 for time in passed if math.floor(time / seconds) == window)
        return used + (others if window == 0 else 0) < limit

    return passes


def bad_minute(now: float, passed: list[float]) -> bool:
    """Three pass, then none for forty seconds, and then all."""
    return len(passed) < 3 or now > 45.0


def sent(limit: Limit, count: int, pace: Pace | None = None) -> tuple[float, int, Pace]:
    """One request after the other: seconds until so many have passed, the 429s, and what is known then."""
    pace, now, refusals, passed = pace or Pace(), 0.0, 0, list[float]()
    while len(passed) < count:
        pace, wait = rates.reserve(pace, BOOT + now)
        if wait > 0:
            now += wait
            continue
        granted, now = now, now + LATENCY
        if limit(granted, passed):
            passed.append(granted)
            pace = rates.answered(pace, BOOT + now, SILENT, created=True, granted_at=BOOT + granted)
        else:
            refusals += 1
            pace = rates.refused(pace, BOOT + now, SILENT, BOOT + granted)
    return now, refusals, pace


def later(pace: Pace) -> Pace:
    """What the next run begins with."""
    known = measuring.measured(pace)
    return measuring.begun_with(Pace(), known) if known else Pace()


@pytest.fixture(autouse=True)
def dice() -> None:
    random.seed(1)


@pytest.mark.parametrize("others", [53, 55, 58])
def test_a_window_that_others_have_used_up_measures_nothing(others: int) -> None:
    seconds, refusals, pace = sent(per_window(60, 60.0, others), 30)
    assert seconds < 75
    assert refusals <= 6
    assert sent(per_window(60, 60.0), 30, later(pace))[0] < 15


def test_a_bad_minute_of_the_provider_is_none_of_the_next() -> None:
    seconds, _, pace = sent(bad_minute, 40)
    assert seconds < 75
    assert measuring.measured(pace) is None


def test_a_limit_that_was_raised_is_used_in_the_same_run() -> None:
    _, _, pace = sent(per_window(10, 60.0), 30)
    _, _, pace = sent(per_window(10, 60.0), 30, later(pace))
    first, refusals, pace = sent(per_window(60, 10.0), 100, later(pace))
    second, _, _ = sent(per_window(60, 10.0), 100, later(pace))
    assert first < 300  # at the pace that was measured it would take ten minutes
    assert second < 60
    assert refusals <= 2


def test_a_refused_step_brings_the_proven_pace_back_and_the_next_is_smaller_and_later() -> None:
    pace = measuring.begun_with(Pace(), Measured(interval=6.06, met=1, evidence=10))
    seconds, refusals, pace = sent(per_window(10, 60.0), 800, pace)
    assert seconds < 800 * 6.0 * 1.05
    assert 1 <= refusals <= 8
    assert pace.refused_steps >= 2
    assert pace.interval == pytest.approx(6.06, rel=0.1)


def test_a_step_keeps_what_was_proven_for_the_next_run() -> None:
    pace = replace(Pace(answered=True), interval=6.0, evidence=10, met=1, unrefused=100)
    stepped = stepping.stepped(pace, BOOT)
    assert (stepped.interval, stepped.proven) == (3.0, 6.0)
    known = measuring.measured(stepped)
    assert known is not None
    assert known.interval == 6.0
