"""A batch in the hands of a fleet: its shards are runs of `generate-shard` on a work pool."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import uuid4

from prefect.blocks.core import Block
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from pydantic import Field

from prefect_imagine.backoff import PAUSES
from prefect_imagine.batches.control.commands import Command, write_command
from prefect_imagine.batches.fleet.dispatch import Dispatch, all_started, put_started, shards_to_come
from prefect_imagine.batches.lease import LeaseTimes
from prefect_imagine.batches.options import MOST_WORKERS, BatchOptions
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.billing.estimates import estimate_text
from prefect_imagine.clock import Deadline
from prefect_imagine.engine.fleet.handing_over import Placement, hand_over, last_dispatch
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.errors import BatchBusyError, ConfigurationError
from prefect_imagine.flows.parameters import Bucket, Credentials
from prefect_imagine.flows.run_batch import run_batch
from prefect_imagine.flows.shard_runs import shard_runs
from prefect_imagine.providers.models import Frozen
from prefect_imagine.reports.summary import INTERRUPTED, Summary
from prefect_imagine.stores import Store
from prefect_imagine.tasks.control import Control
from prefect_imagine.tasks.events import announce_start
from prefect_imagine.tasks.termination import on_sigterm, terminate
from prefect_imagine.tracing import traceparent

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""From one look to the next at a fleet that is waited for."""
SERVER_SECONDS = 300.0
"""How long Prefect's server may fail to start the run of a shard."""


class Fleet(Frozen):
    """Workers that share a batch.

    Attributes:
        pool: the work pool that they work for; it needs a deployment of `generate-shard`.
        workers: how many are to share the batch: it is divided into at least as many shards, of at least 50
            items. By default those of the pool that are online.
    """

    pool: Annotated[str, Field(min_length=1, description="The work pool whose workers run the shards.")]
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] | None = Field(
        default=None,
        description="How many workers share the batch; by default those of the pool that are online.",
    )


@dataclass(frozen=True)
class FleetRun:
    """Hands batches over to a fleet, from within a flow run or without one.

    Attributes:
        placement: where the fleet finds the batch.
        workers: how many share it.
        online: how many of the pool's were online; `None` where nobody has asked.
    """

    placement: Placement
    workers: int
    online: int | None = None

    @classmethod
    async def to(cls, fleet: Fleet, output: str, bucket: Bucket, credentials: Credentials) -> FleetRun:
        """To a fleet, whose workers are told of output, bucket and credentials by these names.

        Raises:
            ConfigurationError: there is no such pool or deployment, or a block has no name.
        """
        async with shard_runs(fleet.pool) as runs:
            online = await runs.online_workers()
        if not online:
            logger.warning("no worker of pool %r is online: its runs wait for one", fleet.pool)
        placement = Placement(
            pool=fleet.pool,
            output=output,
            asked_by=str(flow_run.id or uuid4()),
            bucket=None if bucket is None else _name_of("bucket", bucket),
            credentials={
                name: _name_of(f"credentials of {name}", each) for name, each in credentials.items()
            },
            traceparent=traceparent(),
        )
        return cls(placement, fleet.workers or max(1, online), online)

    async def free(self, store: Store, batch_id: str, *, wait: bool = False) -> FleetRun:
        """The same for a batch that no fleet has.

        Args:
            wait: wait for a fleet that has it, for a day at most.

        Raises:
            BatchBusyError: another run has handed it to one that goes on with it.
        """
        deadline = Deadline(LeaseTimes.longest_wait)
        while True:
            known, goes_on = await last_dispatch(store, batch_id)
            if known is None:
                return self
            own = known.asked_by == self.placement.asked_by
            alive = 0 if own or not goes_on else await _alive(known, store.address)
            if not alive:
                return replace(self, placement=replace(self.placement, after=known.generation))
            if not await asyncio.to_thread(all_started, store, known):
                # Whoever handed it over was killed; or is not, and each run starts once all the same.
                await _start_missing(store, known, asyncio.Event())
                alive = await _alive(known, store.address)
            if not wait or deadline.passed:
                raise BatchBusyError(
                    f"batch {batch_id!r} is being run by {_counted(alive, 'run')} on pool {known.pool!r}: "
                    "wait for them to end, or cancel the batch"
                )
            logger.info("batch %s is being run on pool %s: waiting for it", batch_id, known.pool)
            await asyncio.sleep(LOOK_SECONDS)

    async def run(self, store: Store, prepared: PreparedBatch, options: BatchOptions) -> State[Any]:
        """Hand a batch over whose plans are written, and start the runs of its shards. Belongs in a flow run.

        Raises:
            ImagineError: somebody else runs it, or the store or Prefect's server are gone.
        """
        if prepared.settled:
            return await self._settled(store, prepared, options)
        summary, dispatch = await self.submit(store, prepared, options)
        if StopReason.CANCELLED in summary.stopped_by:
            return Cancelled(
                message="it was cancelled while it started the runs of shards, and its batch too"
            )
        shards = len(dispatch.shards)
        creates = sum(line.counted for line in prepared.expected)
        message = f"{_counted(shards, 'shard')} on pool {dispatch.pool!r}: {creates} to create"
        return Completed(name="Submitted", message=message, data=summary)

    async def _settled(self, store: Store, prepared: PreparedBatch, options: BatchOptions) -> State[Any]:
        """The end of a batch of which nothing is left to do; where this run's own fleet has announced it, it
        is not announced again."""
        known, goes_on = await last_dispatch(store, prepared.batch_id)
        if known is None or known.asked_by != self.placement.asked_by:
            return await run_batch(store, prepared, options)
        summary, _ = prepared.position.summary(store.address)
        what = "is run" if goes_on else "has been run"
        return Completed(name="Submitted", message=f"it {what} on pool {known.pool!r}", data=summary)

    async def submit(
        self, store: Store, prepared: PreparedBatch, options: BatchOptions
    ) -> tuple[Summary, Dispatch]:
        """The same anywhere."""
        dispatch = await hand_over(store, prepared, options, self.placement)
        announce_start(prepared)
        logger.info(
            "batch %s goes to pool %s in %s; to create are %s",
            prepared.batch_id,
            dispatch.pool,
            _counted(len(dispatch.shards), "shard"),
            estimate_text(prepared.expected),
        )
        cancelled = await self._start(store, dispatch)
        summary, _ = prepared.position.summary(store.address)
        ended = {"stopped_by": (StopReason.CANCELLED.value,), "exit_code": INTERRUPTED} if cancelled else {}
        return summary.model_copy(update={"submitted": True, "exit_code": 0, **ended}), dispatch

    async def _start(self, store: Store, dispatch: Dispatch) -> bool:
        """Start the runs of shards, one after the other; whether somebody has cancelled this run meanwhile:
        they want none of them."""
        told = asyncio.Event()
        try:
            with on_sigterm(told.set):
                await _start_missing(store, dispatch, told)
            return told.is_set() and await self._terminate(store, dispatch)
        except asyncio.CancelledError:
            await asyncio.shield(_cancel(store, dispatch))
            raise

    async def _terminate(self, store: Store, dispatch: Dispatch) -> bool:
        control = Control()
        await terminate(control)
        if control.cancelled:
            await _cancel(store, dispatch)
        return control.cancelled


async def _alive(dispatch: Dispatch, address: str) -> int:
    """How many runs of shards have not ended."""
    async with shard_runs(dispatch.pool) as runs:
        found = await runs.of(dispatch, address)
    return sum(run.state is None or not run.state.is_final() for run in found.values())


async def _start_missing(store: Store, dispatch: Dispatch, told: asyncio.Event) -> None:
    """Start those runs that have not been, and say so once all are, unless somebody has told it to end."""
    shards = deque(await asyncio.to_thread(shards_to_come, store, dispatch))
    await _start_all(dispatch, store.address, shards, told)
    if not shards:
        await asyncio.to_thread(put_started, store, dispatch)


async def _start_all(dispatch: Dispatch, address: str, shards: deque[int], told: asyncio.Event) -> None:
    """Start the runs of these shards until all are, or somebody has told it to end; Prefect's server may be
    busy, or be restarted. Raises `ConfigurationError` where it starts none for long."""
    deadline, failures = Deadline(SERVER_SECONDS), 0
    while shards and not told.is_set():
        try:
            async with shard_runs(dispatch.pool) as runs:
                while shards and not told.is_set():
                    await runs.start(dispatch, address, shards[0])
                    shards.popleft()
                    deadline, failures = Deadline(SERVER_SECONDS), 0
        except ConfigurationError as error:
            if deadline.passed:
                raise
            failures += 1
            logger.info("the run of shard %d could not be started: %s", shards[0], error)
            await asyncio.sleep(PAUSES.after_failure(min(failures, 5)))


async def _cancel(store: Store, dispatch: Dispatch) -> None:
    command = Command(kind="cancel", by="Prefect", why="the run that handed it over was cancelled")
    await asyncio.to_thread(write_command, store, dispatch.batch_id, command)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _name_of(what: str, block: str | Block) -> str:
    """The name by which other machines find a block. Raises `ConfigurationError`."""
    name = block if isinstance(block, str) else block._block_document_name
    if not name:
        raise ConfigurationError(f"{what}: save the block, since the workers of a fleet find it by its name")
    return name
