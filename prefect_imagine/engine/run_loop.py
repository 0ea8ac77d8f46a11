"""The run loop: what to create, follow and store next. Who executes it, plainly or as Prefect tasks, is
up to the `Stages` it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from prefect_imagine.engine.provider_run import Lane
from prefect_imagine.engine.session import GRACE_SECONDS, Session
from prefect_imagine.errors import FencedError

WAVES = 100
CREATES_AT_ONCE = 16
STORES_AT_ONCE = 16
LONGEST_HOLD = 5.0


class Stages(Protocol):
    """Executes the three stages of one provider's part of a batch."""

    async def create(self, provider: str, items: list[int]) -> object:
        """Create a wave of items."""

    async def poll(self, provider: str) -> object:
        """Follow everything until it has landed."""

    async def store_outputs(self, provider: str, items: list[int]) -> object:
        """Store a wave of finished items."""


async def run(session: Session, stages: Stages | None = None) -> None:
    """Run a session's batch as far as it goes: all providers side by side."""
    running = asyncio.ensure_future(_run_all(session, stages or session))
    stopped = asyncio.ensure_future(session.stopped.wait())
    fenced = asyncio.ensure_future(session.fenced.wait())
    try:
        await asyncio.wait((running, stopped, fenced), return_when=asyncio.FIRST_COMPLETED)
        if not fenced.done():
            await asyncio.wait((running, fenced), timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in (running, stopped, fenced):
            each.cancel()
        ended = await asyncio.gather(running, stopped, fenced, return_exceptions=True)
    if isinstance(ended[0], Exception):
        raise ended[0]
    if session.fenced.is_set():
        raise FencedError(f"batch {session.plan.batch_id!r} has been taken over by another process")


async def _run_all(session: Session, stages: Stages) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for lane in session.lanes.values():
                group.create_task(run_provider(lane, stages))
    except BaseExceptionGroup as group_of_errors:
        raise _first(group_of_errors) from group_of_errors


def _first(error: BaseException) -> BaseException:
    """The error that ended the run: those that followed from it say nothing more."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_provider(lane: Lane, stages: Stages) -> None:
    """Run one provider's part: one long poll beside waves of creates and stores."""
    to_follow = bool(lane.todo or lane.open or lane.flying)
    if not (to_follow or lane.ready):
        return
    size = max(1, len(lane.items) // WAVES)
    async with asyncio.TaskGroup() as group:
        group.create_task(_poll(lane, stages, to_follow=to_follow))
        group.create_task(_stores(lane, stages, size))
        slots = asyncio.Semaphore(max(1, CREATES_AT_ONCE // size + (size > 1)))
        async for wave in create_waves(lane, size):
            await slots.acquire()
            group.create_task(_create(lane, stages, wave, slots))


async def create_waves(lane: Lane, size: int) -> AsyncIterator[list[int]]:
    """What to create next, while there is or may yet be something: an open attempt may turn out absent."""
    while True:
        await lane.until(lambda: bool(lane.todo) or not lane.creating)
        if lane.stop is not None or not lane.todo:
            return
        lane.pending_waves += 1
        yield [lane.todo.popleft() for _ in range(min(size, len(lane.todo)))]


async def store_waves(lane: Lane, size: int) -> AsyncIterator[list[int]]:
    """What to store next, in the order of completion: by count, or when the first has waited long enough."""
    while True:
        await lane.until(lambda: bool(lane.ready) or not lane.watching)
        if not lane.ready:
            return
        await lane.until(lambda: len(lane.ready) >= size or not lane.watching, LONGEST_HOLD)
        yield [lane.ready.popleft() for _ in range(min(size, len(lane.ready)))]


async def _poll(lane: Lane, stages: Stages, *, to_follow: bool) -> None:
    if to_follow:
        await stages.poll(lane.provider)
    lane.watching = False
    lane.tell()


async def _create(lane: Lane, stages: Stages, wave: list[int], slots: asyncio.Semaphore) -> None:
    try:
        await stages.create(lane.provider, wave)
    finally:
        lane.pending_waves -= 1
        slots.release()
        lane.tell_created()


async def _stores(lane: Lane, stages: Stages, size: int) -> None:
    slots = asyncio.Semaphore(max(1, STORES_AT_ONCE // size))
    async with asyncio.TaskGroup() as group:
        async for wave in store_waves(lane, size):
            await slots.acquire()
            group.create_task(_store(lane, stages, wave, slots))


async def _store(lane: Lane, stages: Stages, wave: list[int], slots: asyncio.Semaphore) -> None:
    try:
        if not lane.stopped:
            await stages.store_outputs(lane.provider, wave)
    finally:
        slots.release()
