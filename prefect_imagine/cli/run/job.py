"""Making, amending or resuming a batch as a Prefect flow run, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import httpx

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.ending import show_end
from prefect_imagine.cli.private_server import some_prefect_server
from prefect_imagine.cli.progress import STOPPED, TerminalObserver
from prefect_imagine.cli.run.changes import announce, dry_run, plan_counts
from prefect_imagine.cli.run.fleet import fleet_run, handed_over
from prefect_imagine.cli.run.which_batch import default_batch
from prefect_imagine.cli.server import LateSharedLimit, prepare_prefect
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.persist import again_if_amended, persist_plan
from prefect_imagine.engine.planning.prepare import PreparedBatch, prepare_batch
from prefect_imagine.errors import BatchBusyError, ConfigurationError, FencedError, ImagineError
from prefect_imagine.prompts.spool import Asked
from prefect_imagine.prompts.templates import Variables
from prefect_imagine.reports.books import settle_books
from prefect_imagine.reports.position import position_of
from prefect_imagine.reports.summary import (
    BAD_INPUT,
    BUSY,
    INFRASTRUCTURE,
    Summary,
)
from prefect_imagine.stores import Store, open_store

if TYPE_CHECKING:
    from prefect_imagine.flows.fleet import FleetRun


@dataclass(frozen=True)
class Job:
    """A batch to be made, amended or resumed, and how; without `asked`, as it is.

    Attributes:
        batch_id: `None` for the one that the prompts file describes.
        source: path or address of the prompts; `None` for standard input.
        used: what of the date the prompts speak of.
        fleet: the work pool whose workers run it; `None` to run it here.
        workers: how many of them share it.
    """

    root: str
    batch_id: str | None
    asked: Asked | None
    credentials: Mapping[str, str]
    options: BatchOptions
    json: bool
    verbose: bool
    again: bool = False
    amend: bool = False
    dry_run: bool = False
    source: str | None = None
    used: Variables = field(default_factory=lambda: Variables({}))
    at: datetime = field(default_factory=utc_now)
    fleet: str | None = None
    workers: int | None = None


def to_its_end(job: Job) -> Summary:
    watcher = TerminalObserver()
    try:
        return asyncio.run(_run(job, watcher))
    except BaseException:  # a cancellation, or what Prefect makes of a signal
        if watcher.stop is None:
            raise
        # There may be no batch yet that could be resumed.
        message = f"{watcher.stop}; run the same command again to go on"
        return output.nothing_done(message, STOPPED[watcher.stop], job.batch_id or "")


async def _run(job: Job, watcher: TerminalObserver) -> Summary:
    prepare_prefect(verbose=job.verbose)
    watcher.listen()
    store = open_store(job.root)
    try:
        job = await asyncio.to_thread(_named, job, store)
        try:
            return await again_if_amended(partial(_prepared, job, store, watcher))
        except BatchBusyError as error:
            output.complain(str(error))
            return output.nothing_done(str(error), BUSY, job.batch_id or "")
    finally:
        store.close()
        watcher.listen_alone()


async def _prepared(job: Job, store: Store, watcher: TerminalObserver) -> Summary:
    """Compare a batch with what is asked for, and make it that. Raises `AmendedMeanwhileError` where somebody
    else does the same."""
    if job.workers is not None and job.fleet is None:
        raise ConfigurationError("--workers share the batch that --fleet POOL hands to a work pool: name it")
    pool = None if job.dry_run else job.fleet
    fleet = await fleet_run(pool, job.workers, job.root, job.credentials, verbose=job.verbose)
    if fleet is not None:
        fleet = await fleet.free(store, job.batch_id or "", wait=job.options.wait)
    prepared_of = prepare_batch(
        store,
        job.batch_id or "",
        job.asked,
        accounts_for(job.credentials),
        job.options,
        LateSharedLimit,
        source=job.source,
        amend=job.amend,
        workers=1 if fleet is None else fleet.workers,
    )
    async with prepared_of as prepared:
        if job.dry_run:
            summary = dry_run(prepared, store.address, to_stderr=job.json)
        else:
            summary = await _made(job, store, prepared, watcher, fleet)
    return summary if job.asked is None else summary.model_copy(update={"plan": plan_counts(prepared)})


def _named(job: Job, store: Store) -> Job:
    """The same with the batch that is meant. Raises `ConfigurationError`."""
    batch_id = job.batch_id
    if batch_id is None:
        named = default_batch(store, job.source, job.asked or [], job.used, job.at, again=job.again)
        batch_id = check_batch_id(named)
    return replace(job, batch_id=batch_id, options=job.options.model_copy(update={"batch_id": batch_id}))


async def _made(
    job: Job, store: Store, prepared: PreparedBatch, watcher: TerminalObserver, fleet: FleetRun | None
) -> Summary:
    """Run a batch as far as it goes, and show its end; or have a fleet run it."""
    position = prepared.position
    usage: Usage | None
    if prepared.settled:
        output.say(f"batch {prepared.batch_id} has nothing left to do")
        summary, usage = position.summary(store.address)
        settle_books(store, usage)
    else:
        announce(prepared)
        prepared = await persist_plan(store, prepared)
        if fleet is not None:
            return await handed_over(fleet, store, prepared, job.options, to_stderr=job.json)
        summary, usage = await _run_flow(job, store, prepared, watcher)
    if usage is not None:
        if watcher.session is not None:
            position = await asyncio.to_thread(position_of, store, prepared.batch_id)
        show_end(position, summary, usage, job.root, to_stderr=job.json)
    return summary


async def _run_flow(
    job: Job, store: Store, prepared: PreparedBatch, watcher: TerminalObserver
) -> tuple[Summary, Usage | None]:
    failure: Exception | None = None
    try:
        state = await _flow_run(job, store, prepared, watcher)
        failure = watcher.failure or (None if watcher.summary else _as_error(state))
    except Exception as error:
        # With its books closed it has ended, although Prefect may know nothing of its flow run any more.
        failure = None if watcher.summary else error
    if failure is not None:
        return await _broken(prepared, store, failure, watcher), None
    assert watcher.summary is not None, "a flow run that did not fail has closed its books"
    return watcher.summary, watcher.usage


async def _flow_run(job: Job, store: Store, prepared: PreparedBatch, watcher: TerminalObserver) -> object:
    """The state that the flow run ends with."""
    from prefect.exceptions import Pause

    from prefect_imagine.flows.command_line import flow_of

    try:
        async with some_prefect_server():
            generate_batch = flow_of(store, prepared, watcher)
            return await generate_batch(
                output=store.address,
                credentials=dict(job.credentials),
                options=job.options,
                return_state=True,
            )
    except Pause as suspension:
        return suspension.state  # a person has suspended the flow run


def _as_error(state: object) -> Exception:
    return ImagineError(f"the flow run ended as {state}")


def _hint(failure: Exception) -> str:
    if isinstance(failure, ImagineError):
        return ""
    status = failure.response.status_code if isinstance(failure, httpx.HTTPStatusError) else None
    variable = "PREFECT_API_AUTH_STRING" if status in (401, 403) else "PREFECT_API_URL"
    return f" (Prefect's server: check {variable})"


async def _broken(
    prepared: PreparedBatch, store: Store, failure: Exception, watcher: TerminalObserver
) -> Summary:
    """A run that could not close its books: what is durable is in the journal."""
    message = str(failure) or type(failure).__name__
    if watcher.stop is not None:
        code = STOPPED[watcher.stop]
    elif isinstance(failure, BatchBusyError | FencedError):
        code = BUSY
    elif isinstance(failure, ConfigurationError) or watcher.session is None:
        code = BAD_INPUT
        message = f"nothing was created: {message}{_hint(failure)}"
    else:
        code = INFRASTRUCTURE
    output.complain(message)
    known = watcher.session
    position = prepared.position if known is None else replace(prepared.position, bill=known.books.bill)
    summary, _ = position.summary(store.address)
    return summary.model_copy(update={"error": message, "exit_code": code})
