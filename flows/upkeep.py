"""Looking after batches that exist: `reconcile` on a schedule, and `cancel_batch`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_imagine.batches.opening import Accounts
from prefect_imagine.batches.root import DAY, unsettled_under
from prefect_imagine.batches.summary import Summary
from prefect_imagine.batches.upkeep import cancel, reconcile
from prefect_imagine.errors import BatchBusyError, ImagineError
from prefect_imagine.flows.parameters import Days
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts, open_output
from prefect_imagine.tasks.artifacts import Reconciled, publish_reconciled
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.waves import PrefectStages


@flow(name="reconcile", flow_run_name="reconcile {output}", persist_result=False, retries=0)
async def reconcile_batches(
    output: str = "./outputs",
    credentials: dict[str, str] = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: str | None = None,
    days: Days = 14.0,
) -> State[Any]:
    """Look again at the open, unknown and unfinished items of recent batches; adopt and store what is found.

    Creates nothing. Batches that are being run are left alone. Fails when a batch could not be looked at.

    Args:
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}; for others
            the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in; the output is then the folder within it.
        days: Look at batches that were written to in the last so many days.
    """
    with logs_in_run():
        try:
            with closing(await open_output(output, bucket)) as store:
                batches = await asyncio.to_thread(_unsettled, store, days)
                looked_at = [await _reconciled(store, each, accounts(credentials)) for each in batches]
        except ImagineError as error:
            return Failed(message=str(error))
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
        f"{items.planned} unfinished"
    )


def _state(looked_at: Sequence[Reconciled]) -> State[Any]:
    failed = [each.batch_id for each in looked_at if each.failed]
    message = f"{len(looked_at)} unsettled batches"
    if failed:
        return Failed(message=f"{message}, of which these could not be looked at: {', '.join(failed)}")
    return Completed(message=message)


@flow(name="cancel-batch", flow_run_name="cancel {batch_id}", persist_result=False, retries=0)
async def cancel_batch(
    batch_id: str,
    output: str = "./outputs",
    credentials: dict[str, str] = {},  # noqa: B006
    bucket: str | None = None,
    cancel_in_flight: bool = False,
) -> State[Any]:
    """Stop a batch, wherever it runs: its process is fenced off and ends. It can be resumed any time.

    Args:
        batch_id: The batch to stop.
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}; for others
            the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in; the output is then the folder within it.
        cancel_in_flight: Also cancel its jobs under way, one by one, at providers that can.
    """
    with logs_in_run():
        try:
            with closing(await open_output(output, bucket)) as store:
                find = accounts(credentials)
                summary, _ = await cancel(store, batch_id, find, in_flight=cancel_in_flight)
        except ImagineError as error:
            return Failed(message=str(error))
    return Completed(message=_standing(summary))
