"""Writing the plans of new shards, before anything is spent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.lease import Lease, who_runs
from prefect_imagine.batches.origin import Origin, complete_origin, write_origin
from prefect_imagine.batches.plan import Plan, read_plan, write_plan
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.shards import FIRST, shard_path
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.prepare import STORE_SECONDS, PreparedBatch
from prefect_imagine.errors import AmendedMeanwhileError, ConfigurationError, StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_TIMES = 5


async def persist_plan(store: Store, prepared: PreparedBatch) -> PreparedBatch:
    """Write the plans of new shards, after making sure that the store takes what is going to be paid for.

    Raises:
        BatchBusyError: another process runs the batch that is to be amended.
        AmendedMeanwhileError: another process has planned something else.
        ConfigurationError: the store cannot be written.
    """
    if prepared.settled:
        return prepared
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        await blocking(store.check_writable)
        if prepared.plans is not None:
            async with _amending(store, blocking, prepared):
                await blocking(write_origin, store, _origin(prepared))
                plans = iter(prepared.plans)
                while (plan := await asyncio.to_thread(next, plans, None)) is not None:
                    await _persist(store, blocking, plan)
        if prepared.interrupted:
            await blocking(complete_origin, store, prepared.batch_id)
        return prepared
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error
    finally:
        await blocking.aclose()


@asynccontextmanager
async def _amending(store: Store, blocking: Blocking, prepared: PreparedBatch) -> AsyncIterator[None]:
    """Nobody else runs the batch when the context begins, nor begins to for as long as it lasts: whoever runs
    it has one of its shards that are not settled, and begins with the first."""
    unsettled = [shard.number for shard in prepared.shards if shard.settled is None]
    if prepared.fresh or not unsettled:
        yield
        return
    while (held := await blocking(_held, store, prepared.batch_id, unsettled)) is not None:
        lease = Lease(store, blocking, held, ProcessIdentity.me())
        await lease.take(wait=prepared.wait)
        await lease.release()
    first = Lease(store, blocking, shard_path(prepared.batch_id, unsettled[0]), ProcessIdentity.me())
    await first.take(wait=prepared.wait)
    try:
        yield
    finally:
        await first.release()


def _held(store: Store, batch_id: str, shards: Iterable[int]) -> str | None:
    """The folder of a shard that some process runs."""
    paths = (shard_path(batch_id, shard) for shard in shards)
    return next((path for path in paths if who_runs(store, path) is not None), None)


def _origin(prepared: PreparedBatch) -> Origin:
    items = prepared.position.bill.counts.total if prepared.fresh else 0
    return Origin(batch_id=prepared.batch_id, source=prepared.source, items=items, created=utc_now())


async def _persist(store: Store, blocking: Blocking, plan: Plan) -> None:
    if await blocking(write_plan, store, plan):
        return
    # Somebody planned the same shard in this moment: theirs stands, with the seeds that they drew.
    known = await blocking(read_plan, store, plan.batch_id, plan.shard)
    if known is None or known.asked != plan.asked:
        what = "made" if plan.shard == FIRST else "amended"
        raise AmendedMeanwhileError(
            f"batch {plan.batch_id!r} has just been {what} with other prompts: run this again"
        )


async def again_if_amended(work: Callable[[], Awaitable[T]]) -> T:
    """Prepare and run a batch, from the beginning where another process has amended it meanwhile. Raises
    `AmendedMeanwhileError` where that happens again and again."""
    for _ in range(MOST_TIMES - 1):
        try:
            return await work()
        except AmendedMeanwhileError as error:
            logger.info("%s", error)
    return await work()
