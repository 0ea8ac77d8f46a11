"""Taking a batch over: from what was prepared to a session that is ready to go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from prefect_imagine.backoff import PAUSES, Pauses
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.observer import Observer
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.engine.session import Session
from prefect_imagine.engine.shards.opener import ShardOpener
from prefect_imagine.engine.traces import batch_trace
from prefect_imagine.heap import frozen_heap
from prefect_imagine.providers.models import Generation
from prefect_imagine.stores import Store
from prefect_imagine.tracing import named_by

NOTHING_SEEN: Mapping[str, Mapping[str, Generation]] = {}


@asynccontextmanager
async def open_session(
    prepared: PreparedBatch,
    store: Store,
    options: BatchOptions,
    *,
    force: bool = False,
    create: bool = True,
    lingers: bool = True,
    seen: Mapping[str, Mapping[str, Generation]] = NOTHING_SEEN,
    asked_by: str = "",
    observer: Observer | None = None,
    begun_in: str | None = None,
    pauses: Pauses = PAUSES,
    now: Callable[[], datetime] = utc_now,
) -> AsyncIterator[Session]:
    """Take a batch over and be ready to go on with it.

    Args:
        prepared: the batch as it stood when its run was asked for, and may have been estimated and approved:
            what has failed since then is not created again. Its first shard is opened at once.
        force: take it from a living process, which ends as fenced.
        create: whether items may be created; otherwise what is open, unknown or under way is only looked at.
        lingers: whether jobs are waited for; otherwise nothing is taken in but what is seen or delivered.
        seen: by provider, records of jobs that somebody has looked at just now.
        asked_by: names the run that asks. Begun again after a crash, it creates no failed item once more
            that it has created again already.
        observer: watches the run.
        begun_in: names the span of the run that let the batch's jobs go.
        pauses: how long it pauses where nobody tells it when to go on.
        now: the clock by which creates belong to days, and to the periods of budgets.

    Raises:
        BatchBusyError: another process runs it.
        FencedError: another process took it in the same moment.
        StoreError: the store is gone.
    """
    with frozen_heap(), batch_trace(prepared.batch_id, prepared.clients, named_by(begun_in)) as trace:
        blocking = Blocking(patience=options.timing.patience, pauses=pauses)
        try:
            wanted = await blocking(read_wanted, store, prepared.batch_id)
            opener = ShardOpener.of(
                prepared, store, blocking, options, wanted, asked_by=asked_by, create=create, force=force
            )
            session = Session(
                prepared,
                store,
                blocking,
                options,
                opener,
                wanted,
                create=create,
                lingers=lingers,
                observer=observer,
                trace=trace,
                now=now,
            )
            for provider, rows in seen.items():
                if provider in session.runs:
                    session.runs[provider].arrivals.bring(rows)
            try:
                await session.budgets.look()
                await session.keys.recall()
                await session.feed.open_next(session.runs)
                await session.feed.record_changes()
                session.desk.begin(opener.set_after)
                await session.desk.look()  # while it waited for another process, that one has obeyed some
                if observer is not None:
                    observer.opened(session)
                yield session
            except asyncio.CancelledError:
                session.stopped.set()
                raise
            finally:
                await session.close()
        finally:
            await blocking.aclose()
