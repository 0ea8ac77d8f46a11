"""Waves: about a hundred in a run, fewer where they end in a moment, and only so many under way together."""

from __future__ import annotations

import asyncio

import pytest

from prefect_imagine.engine.stages.waves import BRIEF, LONG, Waves


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def passed(waves: Waves, clock: Clock, *seconds: float) -> list[int]:
    """The sizes of waves that took so long, one after the other, and of the next."""
    sizes = [waves.size]
    for each in seconds:
        entered = await waves.enter()
        clock.now += each
        waves.leave(entered)
        sizes.append(waves.size)
    return sizes


async def test_waves_that_end_in_a_moment_grow_up_to_four_times() -> None:
    clock = Clock()
    brief = BRIEF / 2
    assert await passed(Waves(2000, clock), clock, brief, brief, brief) == [20, 40, 80, 80]


async def test_waves_that_last_shrink_again_but_not_below_a_hundredth() -> None:
    clock = Clock()
    brief, long = BRIEF / 2, LONG * 2
    assert await passed(Waves(2000, clock), clock, brief, brief, 2.0, long, long, long) == [
        *(20, 40, 80, 80),
        *(40, 20, 20),
    ]


@pytest.mark.parametrize("expected", [0, 1, 99, 100])
async def test_a_run_of_up_to_a_hundred_has_a_wave_for_each(expected: int) -> None:
    clock = Clock()
    assert await passed(Waves(expected, clock), clock, *[BRIEF / 2] * 3) == [1, 1, 1, 1]


@pytest.mark.parametrize(("expected", "together"), [(50, 16), (200, 9), (800, 3), (2000, 2), (10_000, 2)])
async def test_so_many_are_under_way_together(expected: int, together: int) -> None:
    clock = Clock()
    waves = Waves(expected, clock)
    entered = [await waves.enter() for _ in range(together)]
    next_one = asyncio.create_task(waves.enter())
    await asyncio.sleep(0)
    assert not next_one.done()
    clock.now += 2.0
    waves.leave(entered[0])
    assert await next_one == clock.now
