"""Goes on with what a batch has under way: adopts, takes in and stores what is found. Creates nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.fleet.dispatch import end_submission
from prefect_imagine.batches.inbox import remove_all_deliveries
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.batches.submission import remove_submission
from prefect_imagine.billing.root import settle_stock
from prefect_imagine.billing.usage import Usage
from prefect_imagine.engine.open_session import NOTHING_SEEN, open_session
from prefect_imagine.engine.planning.accounts import Accounts, Connect, reached
from prefect_imagine.engine.planning.prepare import PreparedBatch, prepare_batch
from prefect_imagine.engine.run_loop import Stages, run_session
from prefect_imagine.engine.session import Session
from prefect_imagine.providers.models import Generation
from prefect_imagine.reports.books import settle_books
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store

STORE_SECONDS = 60.0
"""How long the store may fail before it is given up."""

StagesOf = Callable[[Session], AbstractContextManager[Stages | None]]
"""Who executes a session's stages, for as long as the context lasts."""


def plainly(session: Session) -> AbstractContextManager[Stages | None]:
    """The session itself."""
    return nullcontext()


@dataclass(frozen=True)
class Visit:
    """What is to be done with one batch.

    Attributes:
        unknown: whether items of unknown fate are looked for again.
        lingers: whether jobs are waited for.
        seen: by provider and id, records of its jobs that somebody has looked at just now.
        overdue: by provider, jobs that have run for longer than they should.
        to_announce: whether the end of the batch is to be announced, after which `finish` is called.
        begun_in: names the span of the run that let its jobs go, where that was traced.
    """

    batch_id: str
    unknown: bool = False
    lingers: bool = False
    seen: Mapping[str, Mapping[str, Generation]] = field(default_factory=lambda: NOTHING_SEEN)
    overdue: Mapping[str, Collection[str]] = field(default_factory=dict)
    to_announce: bool = False
    begun_in: str | None = None
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True)
class TakenIn:
    """Where a batch stands afterwards. `closed`: nothing is left to wait for, and its books are closed."""

    summary: Summary
    usage: Usage
    closed: bool


async def take_in(
    store: Store, visit: Visit, accounts: Accounts, stages: StagesOf = plainly, connect: Connect = reached
) -> TakenIn:
    """Go on with a batch.

    Raises:
        BatchBusyError: it is being run.
        ConfigurationError: there is no such batch, or its accounts cannot be opened.
        StoreError: the store is gone.
    """
    # Unknown items are opened like those to be created again, but nothing is created here.
    options = BatchOptions(batch_id=visit.batch_id, recreate_unknown=visit.unknown, timing=visit.timing)
    prepared_of = prepare_batch(
        store, visit.batch_id, None, accounts, options, creates=False, connect=connect
    )
    async with prepared_of as prepared:
        if prepared.settled:
            return await _closed(store, prepared, to_announce=visit.to_announce)
        session_of = open_session(
            prepared,
            store,
            options,
            create=False,
            lingers=visit.lingers,
            seen=visit.seen,
            begun_in=visit.begun_in,
        )
        async with session_of as session:
            with stages(session) as executed_by:
                await run_session(session, executed_by)
            overdue = await session.mark_overdue(visit.overdue)
            closed = visit.lingers or session.books.counts.under_way <= overdue
            books = session.close_books(to_announce=visit.to_announce) if closed else session.leave_books()
            summary, usage = await books
            return TakenIn(summary, usage, closed)


async def _closed(store: Store, prepared: PreparedBatch, *, to_announce: bool) -> TakenIn:
    """Close the books of a batch of which nothing is left to do."""
    summary, usage = prepared.position.summary(store.address)
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        if not to_announce:
            await blocking(end_submission, store, prepared.batch_id)
        await blocking(settle_books, store, usage, to_announce=to_announce)
    finally:
        await blocking.aclose()
    return TakenIn(summary, usage, closed=True)


def finish(store: Store, batch_id: str) -> None:
    """The end of a batch has been announced: nothing more is to be done about it. Raises `StoreError`."""
    remove_submission(store, batch_id)
    if settle_stock(store, batch_id, shard_numbers(store, batch_id)):
        remove_all_deliveries(store, batch_id)
