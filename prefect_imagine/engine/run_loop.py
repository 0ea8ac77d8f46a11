"""The run loop: what to create, follow and store next. Who executes it, plainly or as Prefect tasks, is
up to the `Stages` it is given."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.session import GRACE_SECONDS, Session
from prefect_imagine.engine.stages.waves import Waves
from prefect_imagine.errors import FencedError

LONGEST_HOLD = 5.0


class Stages(Protocol):
    """Executes the three stages of one provider's part of a batch."""

    async def create(self, provider: str, items: list[int]) -> object:
        """Create a wave of items."""

    async def poll(self, provider: str) -> object:
        """Follow everything until it has landed."""

    async def store_outputs(self, provider: str, items: list[int]) -> object:
        """Store a wave of finished items."""


async def run_session(session: Session, stages: Stages | None = None) -> None:
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
        raise FencedError(f"batch {session.batch_id!r} has been taken over by another process")


async def _run_all(session: Session, stages: Stages) -> None:
    beside = [
        asyncio.create_task(session.deliveries.watch()),
        asyncio.create_task(session.budgets.keep()),
        asyncio.create_task(session.desk.keep_obeying()),
        asyncio.create_task(session.keys.keep_meeting()),
        asyncio.create_task(session.traffic.keep_noting(session.store, session.blocking)),
    ]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(session.feed.feed(session.runs))
            for run in session.runs.values():
                group.create_task(_run_to_its_end(run, stages))
    except BaseExceptionGroup as group_of_errors:
        raise _first(group_of_errors) from group_of_errors
    finally:
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _run_to_its_end(run: ProviderRun, stages: Stages) -> None:
    try:
        await run_provider(run, stages)
    finally:
        run.handover.end()


def _first(error: BaseException) -> BaseException:
    """The error that ended the run: those that followed from it say nothing more."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_provider(run: ProviderRun, stages: Stages) -> None:
    """Run one provider's part, once there is one: one long poll beside waves of creates and stores."""
    queues = run.queues
    await run.wake_up.wait_for(lambda: queues.any or not run.more_to_come)
    to_follow = bool(queues.to_create or queues.open or queues.running or run.more_to_come)
    if not (to_follow or queues.to_store):
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(_poll(run, stages, to_follow=to_follow))
        group.create_task(_stores(run, stages))
        waves = Waves(run.expected)
        async for wave in create_waves(run, waves):
            group.create_task(_create(run, stages, wave, waves, await waves.enter()))


async def create_waves(run: ProviderRun, waves: Waves) -> AsyncIterator[list[int]]:
    """What to create next, while there is or may yet be something: an open attempt may turn out absent, and a
    person may want an item again."""
    while True:
        await run.wake_up.wait_for(
            lambda: bool(run.queues.to_create) or run.stop is not None or not (run.creating or run.polling)
        )
        if run.stop is not None or not run.queues.to_create:
            return
        run.pending_waves += 1
        yield _next_wave(run, run.queues.to_create, waves.size)


async def store_waves(run: ProviderRun, waves: Waves) -> AsyncIterator[list[int]]:
    """What to store next, in the order of completion: by count, or when the first has waited long enough."""
    while True:
        await run.wake_up.wait_for(lambda: bool(run.queues.to_store) or not run.polling)
        if not run.queues.to_store:
            return
        await run.wake_up.wait_for(
            lambda: len(run.queues.to_store) >= waves.size or not run.polling, LONGEST_HOLD
        )
        yield _next_wave(run, run.queues.to_store, waves.size)


def _next_wave(run: ProviderRun, queue: deque[int], size: int) -> list[int]:
    wave = [queue.popleft() for _ in range(min(size, len(queue)))]
    run.shards.enter(wave)
    return wave


async def _poll(run: ProviderRun, stages: Stages, *, to_follow: bool) -> None:
    if to_follow:
        await stages.poll(run.provider)
    run.polling = False
    run.wake_up.notify()


async def _create(run: ProviderRun, stages: Stages, wave: list[int], waves: Waves, entered: float) -> None:
    try:
        await stages.create(run.provider, wave)
    finally:
        run.shards.leave(wave)
        run.pending_waves -= 1
        waves.leave(entered)
        run.end_create()


async def _stores(run: ProviderRun, stages: Stages) -> None:
    waves = Waves(run.expected)
    async with asyncio.TaskGroup() as group:
        async for wave in store_waves(run, waves):
            group.create_task(_store(run, stages, wave, waves, await waves.enter()))


async def _store(run: ProviderRun, stages: Stages, wave: list[int], waves: Waves, entered: float) -> None:
    try:
        if not run.stopped:
            await stages.store_outputs(run.provider, wave)
    finally:
        run.shards.leave(wave)
        waves.leave(entered)
        run.wake_up.notify()
