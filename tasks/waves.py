"""The stages of a batch as Prefect tasks: what people see of it in the UI.

Parameters and results are names, numbers and indices: never clients or secrets, and nothing is persisted.
A create has no retries, because repeating it may pay twice; what a wave must not lose is in the journal.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.states import Completed, Failed

from prefect_imagine.batches.stops import StopReason
from prefect_imagine.engine.session import Session
from prefect_imagine.errors import ImagineError
from prefect_imagine.tasks.control import how_to_go_on
from prefect_imagine.tracing import recorded


@dataclass
class _Run:
    """A session whose stages are run as tasks, and the error that ended it, for the engine to raise."""

    session: Session
    error: ImagineError | None = None

    def check(self) -> None:
        if self.error is not None:
            raise self.error


_runs: dict[str, _Run] = {}


class PrefectStages:
    """Runs a session's stages as task runs in the flow's own loop."""

    def __init__(self, session: Session) -> None:
        self._run = _Run(session)
        # One process may run the same id under two roots.
        self._batch = f"{session.batch_id} ({uuid4().hex[:8]})"

    def __enter__(self) -> PrefectStages:
        _runs[self._batch] = self._run
        return self

    def __exit__(self, *reason: object) -> None:
        _runs.pop(self._batch, None)

    async def create(self, provider: str, items: list[int]) -> None:
        """A wave of creates as a task run."""
        if self._run.session.stopped.is_set():
            return  # it would create nothing, and only report that to Prefect
        await self._executed(create_wave(self._batch, provider, items, self._title(items)))

    async def poll(self, provider: str) -> None:
        """One long task run that follows all of a provider's jobs."""
        await self._executed(poll_provider(self._batch, provider))

    async def store_outputs(self, provider: str, items: list[int]) -> None:
        """A wave of stores as a task run."""
        await self._executed(store_wave(self._batch, provider, items, self._title(items)))

    async def _executed(self, task_run: Awaitable[object]) -> None:
        try:
            await task_run
        except Pause:
            # Prefect begins no task of a suspended run, and would leave the run in the middle of it.
            session = self._run.session
            session.stop(StopReason.SUSPENDED, f"the flow run was suspended; {how_to_go_on(session)}")
        self._run.check()

    def _title(self, items: list[int]) -> str:
        # Prefect names the spans of task runs after them, and no span holds the start of a prompt.
        first = str(items[0]) if recorded() else self._run.session.shards.item(items[0]).title
        return first if len(items) == 1 else f"{first} and {len(items) - 1} more"


_OPTIONS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "retries": 0}


@task(name="create", task_run_name="create {provider} {title}", **_OPTIONS)
async def create_wave(batch: str, provider: str, items: list[int], title: str) -> State[Any]:
    """Create a wave of a batch's items, each at most once."""
    return await _wave(_runs[batch], _runs[batch].session.create(provider, items), items, "created")


@task(name="poll", task_run_name="poll {provider}", **_OPTIONS)
async def poll_provider(batch: str, provider: str) -> State[Any]:
    """Follow all of a provider's jobs until they have landed."""
    try:
        await _runs[batch].session.poll(provider)
    except ImagineError as error:
        return _ended(_runs[batch], error)
    return Completed(message="nothing is left to follow")


@task(name="store", task_run_name="store {provider} {title}", **_OPTIONS)
async def store_wave(batch: str, provider: str, items: list[int], title: str) -> State[Any]:
    """Store a wave of a batch's finished items."""
    return await _wave(_runs[batch], _runs[batch].session.store_outputs(provider, items), items, "stored")


async def _wave(run: _Run, work: Awaitable[list[int]], items: list[int], done: str) -> State[Any]:
    try:
        failed = await work
    except ImagineError as error:
        return _ended(run, error)
    if not failed:
        return Completed(message=f"{len(items)} {done}")
    listed = ", ".join(str(index) for index in failed[:20])
    return Completed(name="Partial", message=f"{len(failed)} of {len(items)} not {done}: {listed}")


def _ended(run: _Run, error: ImagineError) -> State[Any]:
    """A state instead of an exception: the log gets a sentence and no traceback of what is explained."""
    run.error = run.error or error
    return Failed(message=str(error))
