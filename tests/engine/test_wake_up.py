"""Waiting for each other, and being cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from prefect_imagine.engine.wake_up import WakeUp

Wait = Callable[[WakeUp], Awaitable[None]]
WAITS: list[Wait] = [lambda wake_up: wake_up.sleep(60.0), lambda wake_up: wake_up.wait_for(lambda: False)]


@pytest.mark.parametrize("wait", WAITS, ids=["sleep", "wait for"])
@pytest.mark.parametrize("ticks", range(4))
async def test_what_is_woken_and_cancelled_at_once_is_cancelled(wait: Wait, ticks: int) -> None:
    """A stage that lost its cancellation would hold the run of a batch for as long as its jobs last."""
    wake_up = WakeUp()

    async def stage() -> None:
        while True:
            await wait(wake_up)

    task = asyncio.create_task(stage())
    for _ in range(3):
        await asyncio.sleep(0)
    wake_up.wake()
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10.0)
    task.cancel()
    assert done == {task}


class Places:
    """So many places, and a line of those who wait for one."""

    def __init__(self, count: int) -> None:
        self.free = count
        self.asked = 0
        self.inside: list[int] = []
        self.wake_up = WakeUp()
        self.line = self.wake_up.line(lambda: not self.free)

    def enter(self, number: int) -> bool:
        self.asked += 1
        if not self.free or number in BARRED:
            return False
        self.free -= 1
        self.inside.append(number)
        return True

    def leave(self) -> None:
        self.free += 1
        self.wake_up.notify()

    async def visit(self, number: int) -> None:
        await self.line.wait(lambda: self.enter(number))


BARRED: frozenset[int] = frozenset({3, 7})


async def settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_changes_costs_the_same_however_many_wait_for_a_place() -> None:
    places = Places(1)
    visits = [asyncio.create_task(places.visit(number)) for number in range(10, 1010)]
    await settle_down()
    assert places.inside == [10]
    places.asked = 0
    for _ in range(500):
        places.wake_up.notify()
    assert places.asked == 0
    for _ in range(20):
        places.leave()
    assert places.inside == list(range(10, 31))
    assert places.asked == 20
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)


async def test_who_may_not_enter_holds_nobody_else_up() -> None:
    places = Places(2)
    visits = [asyncio.create_task(places.visit(number)) for number in (3, 5, 7, 8, 9)]
    await settle_down()
    assert places.inside == [5, 8]
    visits[4].cancel()  # who gives up is not let in later
    await settle_down()
    places.leave()
    await settle_down()
    assert places.inside == [5, 8]
    assert [visit.done() for visit in visits] == [False, True, False, True, True]
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
