"""What is done for a batch whose fleet may have lost a run: none of its shards is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run

from prefect_imagine.batches.fleet.dispatch import (
    Dispatch,
    ShardEnd,
    all_started,
    has_ended,
    put_end,
    put_started,
    read_dispatch,
    shards_to_come,
)
from prefect_imagine.batches.lease import who_runs
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.batches.stops import Stop, StopReason
from prefect_imagine.batches.submission import put_submission, read_submission
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.fleet.handing_over import Placement, submission_of
from prefect_imagine.errors import BatchBusyError, ConfigurationError
from prefect_imagine.flows.approved import Run
from prefect_imagine.flows.fleet import FleetRun
from prefect_imagine.flows.run_batch import run_batch
from prefect_imagine.flows.shard_runs import ShardRuns, shard_runs
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

AT_MOST = 20
"""How often a shard is begun again whose run crashes: a spot machine may go any hour."""
LOST_SECONDS = 180.0
"""How long a run that lives may take until it holds its shard, or to end after it has given it back."""
INFRASTRUCTURE_SECONDS = 1800.0
"""How long a cluster may take until it has a machine for a run."""
PROCESS = "process"


async def mend_fleet(store: Store, dispatch: Dispatch, now: Callable[[], datetime] = utc_now) -> None:
    """Start the runs of shards that nobody has started, begin those again that have crashed or were lost, and
    take note of those that have ended without a word. A server that cannot be asked is asked the next time.

    Raises:
        StoreError: the store is gone.
    """
    await asyncio.to_thread(_leave_word, store, dispatch)
    try:
        async with shard_runs(dispatch.pool) as runs:
            found = await runs.of(dispatch, store.address)
            started = await asyncio.to_thread(all_started, store, dispatch)
            # What has ended by now, has said so before its run ended.
            for shard in await asyncio.to_thread(shards_to_come, store, dispatch):
                await _mend(store, dispatch, runs, shard, found.get(shard), now(), started=started)
            if not started:
                await asyncio.to_thread(put_started, store, dispatch)
    except ConfigurationError as error:
        logger.warning("batch %s: its fleet cannot be looked at: %s", dispatch.batch_id, error)


def _leave_word(store: Store, dispatch: Dispatch) -> None:
    """Leave word for whoever closes the books, where whoever handed the batch over was killed before that."""
    if read_submission(store, dispatch.batch_id) is None and shards_to_come(store, dispatch):
        put_submission(store, dispatch.batch_id, submission_of(dispatch))


async def _mend(
    store: Store,
    dispatch: Dispatch,
    runs: ShardRuns,
    shard: int,
    run: FlowRun | None,
    now: datetime,
    *,
    started: bool,
) -> None:
    path = shard_path(dispatch.batch_id, shard)
    state = None if run is None else run.state
    if run is None and not started:
        logger.warning("%s: its run is started, which nobody has started yet", path)
        await runs.start(dispatch, store.address, shard)
    elif run is None:
        await _give_up(store, dispatch, shard, "somebody has deleted its run", StopReason.CANCELLED)
    elif (
        state is None
        or not (state.is_final() or _is_lost(state, runs, now))
        or await asyncio.to_thread(_is_busy, store, dispatch, shard)
    ):
        return
    elif state.is_crashed() or not state.is_final():
        if await runs.begin_again(run, AT_MOST):
            logger.warning("%s: its run is lost (%s), and is scheduled again", path, state.name)
        else:
            await _give_up(store, dispatch, shard, f"its run has crashed {AT_MOST} times")
    else:
        reason = StopReason.CANCELLED if state.is_cancelled() else StopReason.FAILING
        await _give_up(store, dispatch, shard, f"its run ended as {state.name}: {state.message}", reason)


def _is_busy(store: Store, dispatch: Dispatch, shard: int) -> bool:
    """Whether somebody runs a shard, or its run has ended meanwhile."""
    held = who_runs(store, shard_path(dispatch.batch_id, shard)) is not None
    return held or has_ended(store, dispatch, shard)


def _is_lost(state: State[Any], runs: ShardRuns, now: datetime) -> bool:
    """Whether a run whose shard nobody holds has been in a state for longer than anybody can be who is about
    to take it: its worker is gone. One that lives all the same is fenced off by whoever takes it."""
    silent = (now - state.timestamp).total_seconds()
    if state.is_pending():
        return silent > (LOST_SECONDS if runs.pool_type == PROCESS else INFRASTRUCTURE_SECONDS)
    return (state.is_running() or state.is_cancelling()) and silent > LOST_SECONDS


async def _give_up(
    store: Store, dispatch: Dispatch, shard: int, why: str, reason: StopReason = StopReason.FAILING
) -> None:
    logger.warning("%s is given up: %s", shard_path(dispatch.batch_id, shard), why)
    end = ShardEnd(at=utc_now(), stops=(Stop(reason, f"shard {shard}: {why}"),))
    await asyncio.to_thread(put_end, store, dispatch, shard, end)


async def run_as_before(store: Store, batch_id: str) -> Run:
    """How a batch is gone on with: by a fleet, where it was handed to one last.

    Raises:
        BatchBusyError: that fleet still has it.
        StoreError: the store is gone.
    """
    known = await asyncio.to_thread(read_dispatch, store, batch_id)
    if known is None:
        return run_batch
    if await asyncio.to_thread(shards_to_come, store, known):
        raise BatchBusyError(f"batch {batch_id!r} is being run on pool {known.pool!r}")
    placement = Placement(
        pool=known.pool,
        output=known.output,
        asked_by=str(flow_run.id),
        bucket=known.bucket,
        credentials=known.credentials,
        after=known.generation,
    )
    return FleetRun(placement, workers=1).run
