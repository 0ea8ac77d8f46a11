"""Running a prepared batch within a flow run, and the state that the flow run ends with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.stops import Stop, StopReason
from prefect_imagine.billing.estimates import estimate_text
from prefect_imagine.billing.usage import Usage
from prefect_imagine.engine.observer import Observer
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.engine.session import Session
from prefect_imagine.errors import BatchBusyError, BatchIncompleteError, FencedError
from prefect_imagine.flows.assets import publish_asset
from prefect_imagine.reports.books import settle_books
from prefect_imagine.reports.position import Position
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store
from prefect_imagine.tasks.artifacts import publish
from prefect_imagine.tasks.control import Control, controlled
from prefect_imagine.tasks.events import (
    announce_break,
    announce_end,
    announce_start,
    announce_threshold,
)
from prefect_imagine.tasks.live import watched
from prefect_imagine.tasks.termination import ending_in_order, terminate
from prefect_imagine.tasks.waves import PrefectStages

logger = logging.getLogger(__name__)

LINK_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Ended:
    """How a run has ended.

    Attributes:
        summary, usage: of what it was about, a batch or one shard of it.
        position: where the batch stands.
        control: what was done to the flow run meanwhile.
        stops: why it creates nothing more.
    """

    summary: Summary
    usage: Usage
    position: Position
    control: Control = field(default_factory=Control)
    stops: Sequence[Stop] = ()


async def run_batch(
    store: Store, prepared: PreparedBatch, options: BatchOptions, observer: Observer | None = None
) -> State[Any]:
    """Run a batch as far as it goes, and publish what has become of it. Belongs in a flow run.

    Args:
        prepared: the batch, its plan written.
        observer: watches the run from outside, and looks after signals; without one a SIGTERM closes the
            books first.

    Raises:
        ImagineError: the batch is run by another process, or its store or providers are gone.
        Pause: a person has suspended the flow run.
    """
    if prepared.settled:
        ended = Ended(*prepared.position.summary(store.address), prepared.position)
        await asyncio.to_thread(settle_books, store, ended.usage)
    else:
        ended = await run_to_its_end(store, prepared, options, observer)
    summary, control = ended.summary, ended.control
    credits = summary.credits
    logger.info(
        "batch %s ends: %s credits charged, %s estimated, %s possible; report: %s",
        prepared.batch_id,
        credits.charged,
        credits.estimated,
        credits.possible,
        summary.report,
    )
    if summary.submitted:
        return submitted_state(summary)
    state = flow_state(summary, options.allowed_failures, cancelled=control.cancelled)
    if not prepared.settled:
        await publish_asset(store, summary, state, prepared.source)
    if not control.gone:
        announce_end(summary)
        await publish(summary, ended.usage, ended.position.failures, report_link(store, ended.usage))
    if control.suspended is not None:
        logger.warning("%s", summary.error)
        raise Pause(state=control.suspended)  # the run keeps the state that a person gave it
    return state


async def run_to_its_end(
    store: Store, prepared: PreparedBatch, options: BatchOptions, observer: Observer | None = None
) -> Ended:
    """Run a batch, or one shard of it, as far as it goes. Raises `ImagineError`."""
    asked_by = str(flow_run.id or "")
    session_of = open_session(prepared, store, options, asked_by=asked_by, observer=observer)
    try:
        async with session_of as session:
            logger.info(
                "batch %s begins; to create are %s", prepared.batch_id, estimate_text(prepared.expected)
            )
            if prepared.part is None:
                announce_start(prepared)
            session.budgets.announce_by(partial(announce_threshold, store.address))
            termination_of = ending_in_order(session, listen=observer is None)
            with PrefectStages(session) as stages, termination_of as termination:
                async with watched(session), controlled(session) as control:
                    summary, usage = await _books(session, stages)
            position = await session.position() if prepared.part is None else prepared.position
            ended = Ended(summary, usage, position, control, session.stops)
        if termination.asked:
            logger.warning("%s", summary.error)
            await terminate(control)
        return ended
    except BatchBusyError:
        raise  # it goes on elsewhere
    except BaseException as error:
        announce_break(prepared.batch_id, error)
        raise


async def _books(session: Session, stages: PrefectStages) -> tuple[Summary, Usage]:
    """Run a session as far as it goes, and close its books, also where a cancellation has fenced it."""
    try:
        await run_session(session, stages)
    except FencedError:
        ended = await session.close_cancelled_books()
        if ended is None:
            raise
        return ended
    return await session.close_books()


def submitted_state(summary: Summary) -> State[Any]:
    """Completed, named Submitted: everything is created, and whoever collects it says how it ended."""
    items = summary.items
    counts = f"{items.under_way} of {items.wanted} under way, {items.stored} stored"
    when = f"the last is expected by {summary.expected_at:%H:%M:%S} UTC" if summary.expected_at else ""
    message = "; ".join(filter(None, (counts, when, "collect takes them in")))
    return Completed(name="Submitted", message=message, data=summary)


def report_link(store: Store, usage: Usage) -> str:
    """Where the report of a batch can be opened."""
    return store.link(f"{usage.batch_id}/report.html", expires=LINK_SECONDS)


def flow_state(summary: Summary, allowed_failures: int, *, cancelled: bool = False) -> State[Any]:
    """Completed with the summary; or else, with a message that counts what is missing, Cancelled, or Failed
    with an error that holds the summary."""
    items = summary.items
    counts = f"{items.stored} of {items.wanted} stored"
    kinds = (
        ("failed", items.failed),
        ("unknown", items.unknown),
        ("under way", items.under_way),
        ("planned", items.planned),
    )
    missing = [f"{count} {name}" for name, count in kinds if count]
    message = ", ".join([counts, *missing])
    error = BatchIncompleteError(f"{message}: {summary.error}" if summary.error else message, summary)
    if cancelled or StopReason.CANCELLED in summary.stopped_by:
        return Cancelled(message=str(error), data=error)
    if summary.error or items.wanted - items.stored > allowed_failures:
        return Failed(message=str(error), data=error)
    return Completed(message=message, data=summary)
