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
