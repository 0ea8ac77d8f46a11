"""Commands on a batch that exists: they need its store, and no Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing

from prefect_imagine.batches.control.commands import Command, user_name
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import absolute, split_batch
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.ending import show_end
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Batch, BatchOrAll, Credentials, Json, Output, Why
from prefect_imagine.engine import maintenance
from prefect_imagine.engine.maintenance import batches_to_cancel
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.reports.books import shards_of
from prefect_imagine.reports.manifest import ManifestFile, make_manifest
from prefect_imagine.reports.position import position_of
from prefect_imagine.reports.report_writer import write_report
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store, open_store


def check_exists(store: Store, batch_id: str) -> None:
    """Raise `ConfigurationError` where there is no batch that can be read."""
    try:
        plan = read_plan(store, batch_id)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    if plan is None:
        raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")


def report(
    batch: Batch, /, *, under: Output = DEFAULT_OUTPUT, json: Json = False, presign: bool = False
) -> Summary:
    """Write the report page again.

    Args:
        presign: signed links, for a bucket (good for 7 days).
    """
    root, batch_id = split_batch(batch, under)
    with closing(open_store(root)) as store:
        check_exists(store, batch_id)
        summary, usage = position_of(store, batch_id).summary(store.address)
        items = ManifestFile(make_manifest(shards_of(store, batch_id)))
        write_report(store, batch_id, items, usage, presign=presign)
        if presign and "://" not in store.address:
            output.say("a folder has no signed links: the report links to the files beside it")
        where = store.link(f"{batch_id}/report.html") if presign else summary.report
        output.say(f"report: {where}")
        return summary.model_copy(update={"report": where, "exit_code": 0})


def cancel(
    batch: BatchOrAll = None,
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    json: Json = False,
    all: bool = False,
    credentials: Credentials = (),
    in_flight: bool = False,
    why: Why = "",
) -> Summary | int:
    """Stop a batch, wherever it runs; it can be resumed.

    Args:
        all: every batch under --output that is being run.
        in_flight: also cancel jobs under way, where possible.
    """
    root, named = absolute(under), None
    if batch is not None:
        root, named = split_batch(batch, under)
    with closing(open_store(root)) as store:
        stopped = [
            _cancel(store, each, dict(credentials) if in_flight else None, why, to_stderr=json)
            for each in batches_to_cancel(store, named, every=all)
        ]
    if named is not None:
        return stopped[0]
    if not stopped:
        output.say(f"no batch under {root} is being run")
    if json:
        batches = [output.contract(each) for each in stopped]
        output.print_json({"output": root, "batches": batches, "error": None})
    return 0


def _cancel(
    store: Store, batch_id: str, credentials: Mapping[str, str] | None, why: str, *, to_stderr: bool
) -> Summary:
    """Fence first: it needs no provider and no key, and they may be what is in trouble.

    With credentials, jobs under way are cancelled at their providers too.
    """
    check_exists(store, batch_id)
    command = Command(kind="cancel", by=user_name(), why=why)
    summary, usage = asyncio.run(maintenance.cancel(store, batch_id, command))
    jobs = summary.items.under_way
    if credentials is not None:
        accounts = accounts_for(credentials)
        summary, usage = asyncio.run(maintenance.cancel_jobs(store, batch_id, accounts))
        output.say(f"{jobs - summary.items.under_way} of {jobs} jobs under way were cancelled")
    _show_end(store, summary, usage, to_stderr=to_stderr)
    unfinished = summary.items.planned + summary.items.under_way
    said = "stopped: whoever ran it creates nothing more" if unfinished else "there was nothing left to stop"
    output.say(f"{batch_id}: {said}")
    return summary.model_copy(update={"exit_code": 0})


def reconcile(
    batch: Batch, /, *, under: Output = DEFAULT_OUTPUT, json: Json = False, credentials: Credentials = ()
) -> Summary:
    """Look again at open and unknown items; creates nothing but what a budget had stopped."""
    root, batch_id = split_batch(batch, under)
    accounts = accounts_for(dict(credentials))
    with closing(open_store(root)) as store:
        check_exists(store, batch_id)
        before, _ = position_of(store, batch_id).summary(store.address)
        summary, usage = asyncio.run(maintenance.reconcile(store, batch_id, accounts))
        gone_on = asyncio.run(maintenance.go_on(store, batch_id, accounts))
        if gone_on is not None:
            summary, usage = gone_on
        _show_end(store, summary, usage, to_stderr=json)
    if before.items == summary.items:
        output.say("nothing has changed: nothing was open, under way or unknown that could be found")
    return summary


def _show_end(store: Store, summary: Summary, usage: Usage, *, to_stderr: bool) -> None:
    position = position_of(store, usage.batch_id)
    show_end(position, summary, usage, store.address, to_stderr=to_stderr)
