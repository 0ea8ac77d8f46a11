"""Looking after batches that exist: `reconcile` on a schedule, and `cancel_batch`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_imagine.batches.index import DAY
from prefect_imagine.billing.root import unsettled_under
from prefect_imagine.engine.maintenance import batches_to_cancel, cancel, cancel_jobs, reconcile
from prefect_imagine.engine.planning.accounts import Accounts
from prefect_imagine.errors import BatchBusyError, ImagineError
from prefect_imagine.flows.parameters import Bucket, Credentials, Days
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts, open_output
from prefect_imagine.tasks.artifacts import Reconciled, publish_reconciled
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.waves import PrefectStages


@flow(name="reconcile", flow_run_name="reconcile {output}", persist_result=False, retries=0)
async def reconcile_batches(
    output: str = "./outputs",
    credentials: Credentials = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: Bucket = None,
    days: Days = 14.0,
) -> State[Any]:
    """Look again at the open, unknown and unfinished items of recent batches; adopt and store what is found.

    Creates nothing. Batches that are being run are left alone. Fails when a batch could not be looked at.

    Args:
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        days: Look at batches that were written to in the last so many days.
    """
    with logs_in_run():
        try:
            with closing(await open_output(output, bucket)) as store:
                batches = await asyncio.to_thread(_unsettled, store, days)
                looked_at = [await _reconciled(store, each, accounts(credentials)) for each in batches]
        except ImagineError as error:
            return Failed(message=str(error), data=error)
    await publish_reconciled(looked_at)
    return _state(looked_at)


def _unsettled(store: Store, days: float) -> list[str]:
    return list(unsettled_under(store, store.now() - days * DAY))


async def _reconciled(store: Store, batch_id: str, find: Accounts) -> Reconciled:
    try:
        summary, _ = await reconcile(store, batch_id, find, PrefectStages)
    except BatchBusyError:
        return Reconciled(batch_id, "is being run")
    except ImagineError as error:
        return Reconciled(batch_id, str(error), failed=True)
    return Reconciled(batch_id, _standing(summary))


def _standing(summary: Summary) -> str:
    items = summary.items
    return (
        f"{items.stored} of {items.total} stored, {items.failed} failed, {items.unknown} unknown, "
        f"{items.under_way} under way, {items.planned} planned"
        + (f", {items.withdrawn} withdrawn" if items.withdrawn else "")
    )


def _state(looked_at: Sequence[Reconciled]) -> State[Any]:
    failed = [each.batch_id for each in looked_at if each.failed]
    message = f"{len(looked_at)} unsettled batches"
    if failed:
        return Failed(message=f"{message}, of which these could not be looked at: {', '.join(failed)}")
    return Completed(message=message)


@flow(name="cancel-batch", flow_run_name="cancel {batch_id}", persist_result=False, retries=0)
async def cancel_batch(
    batch_id: str | None = None,
    output: str = "./outputs",
    credentials: Credentials = {},  # noqa: B006
    bucket: Bucket = None,
    cancel_in_flight: bool = False,
    all_batches: bool = False,
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
    """
    with logs_in_run():
        try:
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
