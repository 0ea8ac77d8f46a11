"""When to look next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from prefect_imagine.backoff import PAUSES
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.engine.cadence import (
    FULL,
    MAX_POLL_SECONDS,
    WHILE_CREATING,
    Cadence,
    RunningJob,
)
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.stores import Downloader
from tests.batches.memory_store import MemoryStore
from tests.engine.fake_provider import FakeProvider, Time, moved_time, plan_of
from tests.engine.one_process import Process

NOW = 1000.0
CLOSEST = PAUSES.between_looks


def job(age: float) -> RunningJob:
    return RunningJob(1, NOW - age, GenerationKind.IMAGE, "m")


def lasting(*seconds: float) -> Cadence:
    """One that has seen jobs last so long."""
    learned = Cadence(clock=lambda: NOW)
    for each in seconds:
        learned.learn({job(1000.0): each}, [])
    return learned


def test_what_nobody_watched_teaches_nothing() -> None:
    """A job that ended while no process ran was as old as the time since its create."""
    learned = Cadence(clock=lambda: NOW)
    learned.learn({replace(job(600.0), watched=False): None}, [])
    assert learned.latencies == {}
    learned.learn({replace(job(600.0), watched=False): 3.0}, [])
    assert list(learned.latencies.values()) == [3.0]


def about(seconds: float) -> object:
    return pytest.approx(seconds, rel=0.06)


def test_while_creates_need_the_limit_looks_are_rare() -> None:
    assert lasting(4.0).wait([job(3.0)], creating=True, scarce=True) == about(WHILE_CREATING)


def test_in_the_tail_most_landings_are_waited_for() -> None:
    jobs = [job(age) for age in (2.0, 8.0, 14.0, 20.0)]
    assert lasting(30.0).wait(jobs, creating=False, scarce=True) == about(28.0)


def test_when_the_tail_begins_those_are_looked_at_that_have_ended_if_they_are_most() -> None:
    jobs = [job(age) for age in (2.0, 20.0, 25.0, 30.0)]
    waits = [
        lasting(4.0).wait(jobs, creating=False, scarce=True, since_look=seconds) for seconds in (29.0, 0.5)
    ]
    assert waits == [0.0, about(2.0)], "the second time they have been looked at"
    assert lasting(4.0).wait([job(4.1)], creating=False, scarce=True, since_look=0.5) == about(1.5)


def test_a_job_that_hangs_is_looked_at_ever_more_rarely() -> None:
    waits = [
        lasting(4.0).wait([job(age)], creating=False, scarce=True, since_look=3.0) for age in (30.0, 100.0)
    ]
    assert waits == [about(4.5), about(15.0)]


def test_the_last_jobs_are_looked_at_once_where_they_end_close_together() -> None:
    jobs = [job(age) for age in (1.0, 2.0, 3.0)]
    assert lasting(3.0, 4.0, 5.0).wait(jobs, creating=False, scarce=True) == about(4.0)


def test_the_last_jobs_are_looked_at_before_the_slowest_has_ended_where_that_takes_long() -> None:
    jobs = [job(age) for age in (2.0, 4.0, 6.0)]
    assert lasting(15.0, 20.0, 38.0).wait(jobs, creating=False, scarce=True) == about(18.0)


def test_a_full_queue_is_looked_at_when_its_next_job_lands() -> None:
    jobs = [job(age) for age in (2.0, 8.0, 14.0, 20.0)]
    assert lasting(30.0).wait(jobs, creating=False, scarce=True, full_in=0.0) == about(10.0)


def test_a_queue_that_will_soon_be_full_is_looked_at_once_it_is() -> None:
    waits = [
        lasting(4.0).wait([job(3.0)], creating=True, scarce=True, full_in=seconds)
        for seconds in (12.0, WHILE_CREATING + 1)
    ]
    assert waits == [about(12.0), about(WHILE_CREATING)]


@pytest.mark.parametrize(("scarce", "closest"), [(True, CLOSEST), (False, FULL * CLOSEST)])
def test_a_job_that_is_about_to_land_is_looked_at_the_sooner_the_less_requests_are_scarce(
    scarce: bool, closest: float
) -> None:
    jobs = [job(0.0), job(3.9)]
    assert lasting(4.0).wait(jobs, creating=False, scarce=scarce, full_in=0.0) == about(closest)


@pytest.mark.parametrize(("scarce", "expected"), [(True, (6.0, 15.0)), (False, (2.0, 5.0))])
def test_a_job_that_hangs_in_a_full_queue_is_looked_at_ever_more_rarely(
    scarce: bool, expected: tuple[float, float]
) -> None:
    waits = [
        lasting(4.0).wait([job(age)], creating=False, scarce=scarce, full_in=0.0) for age in (40, 100, 1000)
    ]
    assert waits == [*map(about, expected), about(MAX_POLL_SECONDS)]


def test_the_last_jobs_where_places_are_scarce_are_looked_at_closely_unless_requests_are_scarce_too() -> None:
    waits = [
        lasting(4.0).wait([job(3.9)], creating=False, scarce=scarce, full_in=math.inf)
        for scarce in (True, False)
    ]
    assert waits == [about(CLOSEST), about(FULL * CLOSEST)]


def test_a_look_that_is_wanted_at_once_is_had_once() -> None:
    learned = lasting(4.0)
    learned.look_at_once = True
    waits = [learned.wait([job(0.0)], creating=True, scarce=True) for _ in range(2)]
    assert waits == [0.0, about(WHILE_CREATING)]


@pytest.fixture
def time() -> Iterator[Time]:
    with moved_time() as moved:
        yield moved


@pytest.fixture
async def process(time: Time) -> AsyncIterator[Process]:
    """A batch of two, of which nothing has been created yet, and whose jobs never end."""
    blocking, downloader = Blocking(patience=5.0, transfers=1), Downloader()
    server = FakeProvider(time, lasts=math.inf)
    yield await Process.start(MemoryStore(), blocking, plan_of("a", "b"), server, downloader)
    downloader.close()
    blocking.close()


async def turns() -> None:
    """Let everybody who can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_hurries_does_not_put_off_the_next_look(process: Process, time: Time) -> None:
    await process.create(1)
    watching = asyncio.create_task(process._watcher.run())
    await turns()
    looks = process.client.requests["poll"]
    for _ in range(10):  # each time before the next look is due
        time.now += CLOSEST / 2
        process.run.wake_up.wake()
        await turns()
    assert looks + 3 <= process.client.requests["poll"] <= looks + 6
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_an_item_that_is_told_twice_is_created_once(process: Process) -> None:
    await asyncio.gather(process.create(1), process.create(1))
    await process.create(1)
    assert process.client.requests["create"] == 1


async def test_while_nothing_is_under_way_the_watcher_waits(process: Process, time: Time) -> None:
    assert process.run.creating
    for _ in range(3):
        waiting = asyncio.create_task(process._watcher._wait())
        await turns()
        assert not waiting.done(), "it would keep everybody else from going on"
        time.now += MAX_POLL_SECONDS + 5
        process.run.wake_up.wake()
        await waiting


def test_a_look_tells_how_long_jobs_take_where_no_record_does() -> None:
    """While creates go on looks are rare: most jobs have ended long before they are seen."""
    learned = Cadence(clock=lambda: NOW)
    learned.learn({job(age): None for age in (4.2, 9.0, 14.0, 28.0)}, [job(age) for age in (0.5, 3.0, 4.0)])
    assert learned.latencies == {(GenerationKind.IMAGE, "m"): pytest.approx(4.2)}


def test_a_few_that_hang_do_not_hide_how_long_the_others_take() -> None:
    learned = Cadence(clock=lambda: NOW)
    ended = {job(age): None for age in (4.2, 4.4, 9.0, 14.0, 28.0)}
    learned.learn(ended, [job(age) for age in (0.5, 4.0, 300.0)])
    assert learned.latencies == {(GenerationKind.IMAGE, "m"): pytest.approx(4.2)}


def test_those_that_run_on_tell_how_long_the_slowest_take() -> None:
    learned = Cadence(clock=lambda: NOW)
    ended = {job(age): None for age in (3.6, 4.0, 5.0)}
    learned.learn(ended, [job(age) for age in (1.0, 3.0, 4.6, 60.0)])
    assert learned.wait([job(0.0)], creating=False, scarce=True) == about(1.1 * 4.6)


def test_a_look_after_all_have_ended_is_believed_until_another_shows_some_that_run() -> None:
    learned = Cadence(clock=lambda: NOW)
    learned.learn({job(age): None for age in (10.0, 10.4)}, [])
    assert list(learned.latencies.values()) == [10.0]
    learned.learn({job(age): None for age in (4.2, 9.0)}, [job(3.0)])
    learned.learn({job(30.0): None}, [job(1.0)])
    assert list(learned.latencies.values()) == [pytest.approx(4.2)]


def test_looks_that_show_no_end_tell_nothing() -> None:
    learned = Cadence(clock=lambda: NOW)
    learned.learn({}, [job(3.0)])
    assert learned.latencies == {}
    assert learned.wait([job(10.0)], creating=False, scarce=True) == about(4.0)


def test_what_earlier_runs_have_seen_is_believed_until_this_one_sees_more() -> None:
    learned = Cadence(clock=lambda: NOW)
    learned.begin_with(GenerationKind.IMAGE, "m", 30.0)
    assert learned.wait([job(10.0)], creating=False, scarce=True) == about(20.0)
    for _ in range(5):
        learned.learn({job(12.0): None}, [job(11.0)])
    assert learned.latencies == {(GenerationKind.IMAGE, "m"): pytest.approx(12.0)}
