"""Commands on a batch that exists: they need its store, and no Prefect server."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import closing

from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import absolute, split_batch
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.ending import show_end
from prefect_imagine.engine import maintenance
from prefect_imagine.engine.maintenance import batches_to_cancel
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.reports.books import standing
from prefect_imagine.reports.manifest import make_manifest
from prefect_imagine.reports.report_writer import write_report
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store, open_store


def found_plan(store: Store, batch_id: str) -> Plan:
    """The plan of a batch. Raises `ConfigurationError` where there is none that can be read."""
    try:
        plan = read_plan(store, batch_id)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    if plan is None:
        raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")
    return plan


def report(arguments: argparse.Namespace) -> Summary:
    """Write the report page again from the journal."""
    root, batch_id = split_batch(arguments.batch, arguments.output)
    with closing(open_store(root)) as store:
        plan = found_plan(store, batch_id)
        state = read_journal(store, batch_id).state
        summary, usage = standing(plan, state, store.address)
        write_report(store, batch_id, make_manifest(plan, state), usage, presign=arguments.presign)
        if arguments.presign and "://" not in store.address:
            output.say("a folder has no signed links: the report links to the files beside it")
        where = store.link(f"{batch_id}/report.html") if arguments.presign else summary.report
        output.say(f"report: {where}")
        return summary.model_copy(update={"report": where, "exit_code": 0})


def cancel(arguments: argparse.Namespace) -> Summary | int:
    """Stop a batch, or all under a root, wherever they run: their processes are fenced off and end."""
    root, named = absolute(arguments.output), None
    if arguments.batch is not None:
        root, named = split_batch(arguments.batch, arguments.output)
    with closing(open_store(root)) as store:
        stopped = [
            _cancel(store, each, arguments) for each in batches_to_cancel(store, named, every=arguments.all)
        ]
    if named is not None:
        return stopped[0]
    if not stopped:
        output.say(f"no batch under {root} is being run")
    if arguments.json:
        output.print_json(
            {"output": root, "batches": [output.contract(each) for each in stopped], "error": None}
        )
    return 0


def _cancel(store: Store, batch_id: str, arguments: argparse.Namespace) -> Summary:
    """Fence first: it needs no provider and no key, and they may be what is in trouble."""
    found_plan(store, batch_id)
    summary, usage = asyncio.run(maintenance.cancel(store, batch_id))
    jobs = summary.items.under_way
    if arguments.in_flight:
        accounts = accounts_for(dict(arguments.credentials))
        summary, usage = asyncio.run(maintenance.cancel_jobs(store, batch_id, accounts))
        output.say(f"{jobs - summary.items.under_way} of {jobs} jobs under way were cancelled")
    _show_end(store, summary, usage, to_stderr=arguments.json)
    unfinished = summary.items.planned + summary.items.under_way
    said = "stopped: whoever ran it creates nothing more" if unfinished else "there was nothing left to stop"
    output.say(f"{batch_id}: {said}")
    return summary.model_copy(update={"exit_code": 0})


def reconcile(arguments: argparse.Namespace) -> Summary:
    """Look again at what is open, unknown or under way; store what is found; create nothing."""
    root, batch_id = split_batch(arguments.batch, arguments.output)
    accounts = accounts_for(dict(arguments.credentials))
    with closing(open_store(root)) as store:
        before, _ = standing(found_plan(store, batch_id), read_journal(store, batch_id).state, store.address)
        summary, usage = asyncio.run(maintenance.reconcile(store, batch_id, accounts))
        _show_end(store, summary, usage, to_stderr=arguments.json)
    if before.items == summary.items:
        output.say("nothing has changed: nothing was open, under way or unknown that could be found")
    return summary


def _show_end(store: Store, summary: Summary, usage: Usage, *, to_stderr: bool) -> None:
    plan, state = found_plan(store, usage.batch_id), read_journal(store, usage.batch_id).state
    show_end(plan, state, summary, usage, store.address, to_stderr=to_stderr)
