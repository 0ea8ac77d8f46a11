"""When to look next."""

from __future__ import annotations

import pytest

from prefect_imagine.batches import cadence
from prefect_imagine.batches.cadence import CLOSEST, FARTHEST, WHILE_CREATING, Cadence, Flight
from prefect_imagine.providers.models import GenerationKind

NOW = 1000.0


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cadence, "boot_seconds", lambda: NOW)


def flight(age: float) -> Flight:
    return Flight(1, NOW - age, GenerationKind.IMAGE, "m")


def lasting(*seconds: float) -> Cadence:
    """One that has seen jobs last so long."""
    learned = Cadence()
    for each in seconds:
        learned.learn(flight(1000.0), each)
    return learned


def about(seconds: float) -> object:
    return pytest.approx(seconds, rel=0.06)


def test_while_creates_need_the_limit_looks_are_rare() -> None:
    assert lasting(4.0).wait([flight(3.0)], creating=True, scarce=True) == about(WHILE_CREATING)


def test_in_the_tail_most_landings_are_waited_for() -> None:
    flights = [flight(age) for age in (2.0, 8.0, 14.0, 20.0)]
    assert lasting(30.0).wait(flights, creating=False, scarce=True) == about(28.0)


def test_a_full_queue_is_looked_at_when_its_next_job_lands() -> None:
    flights = [flight(age) for age in (2.0, 8.0, 14.0, 20.0)]
    assert lasting(30.0).wait(flights, creating=False, scarce=True, full_in=0.0) == about(10.0)


def test_a_queue_that_will_soon_be_full_is_looked_at_once_it_is() -> None:
    waits = [
        lasting(4.0).wait([flight(3.0)], creating=True, scarce=True, full_in=seconds)
        for seconds in (12.0, WHILE_CREATING + 1)
    ]
    assert waits == [about(12.0), about(WHILE_CREATING)]


@pytest.mark.parametrize(("scarce", "closest"), [(True, CLOSEST), (False, CLOSEST / 2)])
def test_a_job_that_is_overdue_may_land_any_moment(scarce: bool, closest: float) -> None:
    flights = [flight(0.0), flight(4.5)]
    assert lasting(4.0).wait(flights, creating=False, scarce=scarce, full_in=0.0) == about(closest)


def test_a_job_that_hangs_in_a_full_queue_is_looked_at_ever_more_rarely() -> None:
    waits = [
        lasting(4.0).wait([flight(age)], creating=False, scarce=False, full_in=0.0) for age in (40, 100, 1000)
    ]
    assert waits == [about(6.0), about(15.0), about(FARTHEST)]


def test_a_look_that_is_wanted_at_once_is_had_once() -> None:
    learned = lasting(4.0)
    learned.look_at_once = True
    waits = [learned.wait([flight(0.0)], creating=True, scarce=True) for _ in range(2)]
    assert waits == [0.0, about(WHILE_CREATING)]
