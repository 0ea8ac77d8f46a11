"""Commands on a batch that exists: they need its store, and no Prefect server."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import closing

from prefect_imagine.batches import upkeep
from prefect_imagine.batches.manifest import make_manifest
from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.reporting import write_report
from prefect_imagine.batches.results import standing
from prefect_imagine.batches.summary import Summary
from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import split_batch
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.progress import how_to_go_on
from prefect_imagine.errors import ConfigurationError, StoreError
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
        where = store.link(f"{batch_id}/report.html") if arguments.presign else summary.report
        output.say(f"report: {where}")
        return summary.model_copy(update={"report": where, "exit_code": 0})


def cancel(arguments: argparse.Namespace) -> Summary:
    """Stop a batch, wherever it runs: its process is fenced off and ends."""
    root, batch_id = split_batch(arguments.batch, arguments.output)
    accounts = accounts_for(dict(arguments.credentials))
    with closing(open_store(root)) as store:
        summary, usage = asyncio.run(upkeep.cancel(store, batch_id, accounts, in_flight=arguments.in_flight))
    output.show_usage(usage, summary, to_stderr=arguments.json)
    if summary.items.planned:
        output.say(f"stopped: whoever ran it creates nothing more; {how_to_go_on(batch_id, root)}")
    return summary.model_copy(update={"exit_code": 0})


def reconcile(arguments: argparse.Namespace) -> Summary:
    """Look again at what is open, unknown or under way; store what is found; create nothing."""
    root, batch_id = split_batch(arguments.batch, arguments.output)
    accounts = accounts_for(dict(arguments.credentials))
    with closing(open_store(root)) as store:
        summary, usage = asyncio.run(upkeep.reconcile(store, batch_id, accounts))
    output.show_usage(usage, summary, to_stderr=arguments.json)
    return summary
