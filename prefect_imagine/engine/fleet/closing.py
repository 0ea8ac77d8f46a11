"""Closing the books of a batch that a fleet has run: whoever has run the last shard does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.fleet.dispatch import Dispatch, read_ends, shards_to_come, stops_of
from prefect_imagine.batches.lease import Lease
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.shards import FIRST, shard_path
from prefect_imagine.batches.submission import read_submission
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.take_in import finish
from prefect_imagine.errors import BatchBusyError
from prefect_imagine.reports.books import write_books
from prefect_imagine.reports.position import Position, position_of
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize
from prefect_imagine.stores import Store

STORE_SECONDS = 120.0
"""How long the store may fail before closing is left to `collect`."""


@dataclass(frozen=True)
class ClosedFleet:
    """A batch whose books have just been closed; its end is still to be announced."""

    summary: Summary
    usage: Usage
    position: Position


@asynccontextmanager
async def closing_fleet(store: Store, dispatch: Dispatch) -> AsyncIterator[ClosedFleet | None]:
    """Close the books of a batch if the last run of its shards has ended, and nobody else does; `None`
    otherwise. Once the context ends without an error, its end counts as announced.

    Whoever closes them holds the batch's first lease for that long. Where they die, `collect` goes on.

    Raises:
        StoreError: the store is gone.
    """
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        if await blocking(shards_to_come, store, dispatch):
            yield None
            return
        lease = Lease(store, blocking, shard_path(dispatch.batch_id, FIRST), ProcessIdentity.me())
        try:
            await lease.take(wait=False)
        except BatchBusyError:
            yield None
            return
        try:
            closed = await _closed(store, blocking, dispatch)
            yield closed
            if closed is not None:
                await blocking(finish, store, dispatch.batch_id)
        finally:
            await lease.release()
    finally:
        await blocking.aclose()


async def _closed(store: Store, blocking: Blocking, dispatch: Dispatch) -> ClosedFleet | None:
    submission = await blocking(read_submission, store, dispatch.batch_id)
    if submission is None or submission.generation != dispatch.generation:
        return None  # somebody has closed them, or goes on with the batch
    ends = await blocking(read_ends, store, dispatch)
    position = await blocking(position_of, store, dispatch.batch_id)
    if dispatch.options.detach and position.bill.counts.under_way:
        return None  # `collect` takes in what was let go
    usage = position.bill.usage(utc_now())
    await blocking(write_books, store, usage)
    sent = sum((Counter(each.requests) for each in ends.values()), Counter[str]())
    summary = summarize(usage, store.address, RequestCounts(**sent), stops_of(ends.values()))
    return ClosedFleet(summary, usage, position)
