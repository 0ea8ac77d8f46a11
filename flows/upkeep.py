"""Looking after batches that exist: `collect` and `reconcile` on a schedule, and `cancel_batch`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_imagine.batches.options import Timing
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.collect import Collected, collect
from prefect_imagine.engine.collecting.going_on import batches_to_go_on
from prefect_imagine.engine.collecting.survey import Scope
from prefect_imagine.engine.maintenance import batches_to_cancel, cancel, cancel_jobs
from prefect_imagine.engine.planning.accounts import Accounts
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.session import Session
from prefect_imagine.errors import BatchBusyError, BatchIncompleteError, ImagineError
from prefect_imagine.flows.assets import publish_asset
from prefect_imagine.flows.mending import mend_fleet, run_as_before
from prefect_imagine.flows.parameters import Bucket, Credentials, Days, Deadlines
from prefect_imagine.flows.run_batch import report_link
from prefect_imagine.flows.shard_runs import whereabouts_of
from prefect_imagine.flows.traces import in_trace_of_run
from prefect_imagine.reports.position import position_of
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts, open_output
from prefect_imagine.tasks.artifacts import Reconciled, publish, publish_reconciled
from prefect_imagine.tasks.events import announce_end, announce_failure
from prefect_imagine.tasks.limits import shared_limit
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.waves import PrefectStages


@flow(name="collect", flow_run_name="collect {output}", persist_result=False, retries=0)
async def collect_batches(
    output: str = "./outputs",
    credentials: Credentials = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: Bucket = None,
    days: Days = 3.0,
    deadlines: Deadlines = {},  # noqa: B006
) -> State[Any]:
    """Take in what has become of jobs that nobody waits for: store what has ended, and close books.

    Looks once per account, at the jobs of all active batches together, and creates nothing. Batches that are
    being run are left alone; of one that a fleet runs, shards are started again whose run was lost. Of a
    batch whose jobs were let go (options.detach), this run publishes the end.
    Fails when such a batch has ended with more failures than it was allowed, or could not be looked at.

    Args:
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        days: Look at batches that were written to in the last so many days.
        deadlines: Seconds by kind after which a job counts as overdue, such as {"video": 10800}, of batches
            that were not let go with deadlines of their own. It is looked at all the same.
    """
    scope = Scope(days, timing=Timing(longest_by_kind=deadlines))
    return await _looked_at(output, credentials, bucket, scope)


@flow(name="reconcile", flow_run_name="reconcile {output}", persist_result=False, retries=0)
async def reconcile_batches(
    output: str = "./outputs",
    credentials: Credentials = {},  # noqa: B006
    bucket: Bucket = None,
    days: Days = 14.0,
) -> State[Any]:
    """Look again at the open, unknown and unfinished items of recent batches; adopt and store what is found.

    The same as collect with a longer memory, and it goes on with batches that a budget has stopped, once that
    holds enough again. Creates nothing else. Batches that are being run are left alone. Fails when a batch
    could not be looked at.

    Args:
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        days: Look at batches that were written to in the last so many days.
    """
    return await _looked_at(output, credentials, bucket, Scope(days, unknown=True), go_on=True)


async def _looked_at(
    output: str, credentials: Credentials, bucket: Bucket, scope: Scope, *, go_on: bool = False
) -> State[Any]:
    with logs_in_run(), in_trace_of_run():
        try:
            with closing(await open_output(output, bucket)) as store:
                find = accounts(credentials)
                publish_end = partial(_publish_end, store)
                found = await collect(store, find, scope, shared_limit, _stages, publish_end)
                for fleet in [each.fleet for each in found if each.fleet is not None]:
                    await mend_fleet(store, fleet)
                gone_on = [each async for each in _gone_on(store, find)] if go_on else []
        except ImagineError as error:
            return Failed(message=str(error), data=error)
    await publish_reconciled([*map(_row, found), *gone_on])
    return _state(found, gone_on)


async def _gone_on(store: Store, find: Accounts) -> AsyncIterator[Reconciled]:
    """Go on with each batch whose budget holds enough again, one after the other."""
    for batch_id, waiting in (await asyncio.to_thread(batches_to_go_on, store, utc_now())).items():
        try:
            run = await run_as_before(store, batch_id)
            async with prepare_batch(store, batch_id, None, find, waiting.options, shared_limit) as prepared:
                ended = await run(store, prepared, waiting.options)
        except BatchBusyError:
            yield Reconciled(batch_id, "is being run")
        except ImagineError as error:
            yield Reconciled(batch_id, f"could not go on: {error}", failed=True)
        else:
            yield Reconciled(batch_id, f"went on: {ended.message}", failed=_is_broken(ended))


def _is_broken(ended: State[Any]) -> bool:
    """Whether a run has ended with more failures than allowed, and not because a budget is used up again."""
    error = ended.data
    waits = isinstance(error, BatchIncompleteError) and error.summary.waits_for is not None
    return ended.is_failed() and not waits


@contextmanager
def _stages(session: Session) -> Iterator[PrefectStages]:
    """The stages of a session as task runs; what has failed in them is announced."""
    with PrefectStages(session) as stages:
        yield stages
    for item, state in session.books.failures:
        announce_failure(session.batch_id, item, state)


async def _publish_end(store: Store, collected: Collected) -> None:
    """What the run that let the jobs of a batch go has left to say."""
    end = collected.finished
    if end is None:
        return
    how: State[Any] = Failed() if collected.failed else Completed()
    await publish_asset(store, end.summary, how)
    announce_end(end.summary)
    position = await asyncio.to_thread(position_of, store, collected.batch_id)
    await publish(end.summary, end.usage, position.failures, report_link(store, end.usage))


def _row(collected: Collected) -> Reconciled:
    if collected.problems:
        return Reconciled(collected.batch_id, "; ".join(collected.problems), failed=True)
    if collected.busy:
        return Reconciled(collected.batch_id, "is being run")
    if collected.taken_in is None:
        outcome = f"{collected.running} under way"
    else:
        outcome = _standing(collected.taken_in.summary)
    if collected.unseen:
        outcome += f"; {collected.unseen} jobs are not shown by their provider: another key's?"
    return Reconciled(collected.batch_id, outcome, failed=collected.failed)


def _standing(summary: Summary) -> str:
    items = summary.items
    return (
        f"{items.stored} of {items.total} stored, {items.failed} failed, {items.unknown} unknown, "
        f"{items.under_way} under way, {items.planned} planned"
        + (f", {items.withdrawn} withdrawn" if items.withdrawn else "")
    )


def _state(looked_at: Sequence[Collected], gone_on: Sequence[Reconciled]) -> State[Any]:
    message = f"{len(looked_at)} unsettled batches"
    if gone_on:
        message += f", and {len(gone_on)} that a budget had stopped"
    problems = [each.batch_id for each in looked_at if each.problems]
    failed = [each.batch_id for each in looked_at if each.failed]
    failed += [each.batch_id for each in gone_on if each.failed]
    if problems:
        message += f", of which these could not be looked at: {', '.join(problems)}"
    if failed:
        message += f", of which these have ended with more failures than allowed: {', '.join(failed)}"
    return Failed(message=message) if problems or failed else Completed(message=message)


@flow(name="cancel-batch", flow_run_name="cancel {batch_id}", persist_result=False, retries=0)
async def cancel_batch(
    batch_id: str | None = None,
    output: str = "./outputs",
    credentials: Credentials = {},  # noqa: B006
    bucket: Bucket = None,
    cancel_in_flight: bool = False,
    all_batches: bool = False,
    flow_run_id: UUID | None = None,
) -> State[Any]:
    """Stop a batch, wherever it runs: its process is fenced off and ends. It can be resumed any time.

    Needs no provider and no key, but for cancelling jobs under way.

    Args:
        batch_id: The batch to stop.
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        cancel_in_flight: Also cancel its jobs under way, one by one, at providers that can.
        all_batches: Stop every batch under the output that is being run.
        flow_run_id: A run of generate-shard, whose batch is to be stopped: no matter what the batch, output
            and bucket above say.
    """
    with logs_in_run():
        try:
            if flow_run_id is not None:
                found = await whereabouts_of(flow_run_id)
                batch_id, output, bucket, all_batches = found.batch_id, found.output, found.bucket, False
            find = accounts(credentials)
            with closing(await open_output(output, bucket)) as store:
                wanted = await asyncio.to_thread(batches_to_cancel, store, batch_id, every=all_batches)
                stopped = [await cancel(store, each) for each in wanted]
                if cancel_in_flight:
                    stopped = [await cancel_jobs(store, each, find) for each in wanted]
        except ImagineError as error:
            return Failed(message=str(error), data=error)
    lines = [f"{summary.batch_id}: {_standing(summary)}" for summary, _ in stopped]
    return Completed(message="; ".join(lines) or "no batch is being run")
