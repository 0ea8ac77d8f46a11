"""Commands on a batch that exists: they need its store, and no Prefect server."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

from prefect_imagine.batches.engine import run
from prefect_imagine.batches.journal import read_journal
from prefect_imagine.batches.manifest import make_manifest
from prefect_imagine.batches.opening import open_batch
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reporting import write_report
from prefect_imagine.batches.results import standing
from prefect_imagine.batches.session import open_session
from prefect_imagine.batches.state import BatchState
from prefect_imagine.batches.summary import Summary
from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import split_batch
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store, open_store


def status(arguments: argparse.Namespace) -> Summary:
    """Where a batch stands."""
    with _stored(arguments) as (store, plan, state):
        summary, usage = standing(plan, state, store.address)
        output.show_usage(usage, summary, to_stderr=arguments.json)
        return summary


def report(arguments: argparse.Namespace) -> Summary:
    """Write the report page again from the journal."""
    with _stored(arguments) as (store, plan, state):
        summary, usage = standing(plan, state, store.address)
        items = make_manifest(plan, state)
        write_report(store, plan.batch_id, items, usage, presign=arguments.presign)
        where = store.link(f"{plan.batch_id}/report.html") if arguments.presign else summary.report
        output.say(f"report: {where}")
        return summary.model_copy(update={"report": where, "exit_code": 0})


def cancel(arguments: argparse.Namespace) -> Summary:
    """Stop a batch, wherever it runs: its process is fenced off and ends."""
    return asyncio.run(_cancel(arguments))


def reconcile(arguments: argparse.Namespace) -> Summary:
    """Look again at what is open, unknown or under way; store what is found; create nothing."""
    return asyncio.run(_reconcile(arguments))


@contextmanager
def _stored(arguments: argparse.Namespace) -> Iterator[tuple[Store, Plan, BatchState]]:
    root, batch_id = split_batch(arguments.batch, arguments.output)
    with closing(open_store(root)) as store:
        try:
            plan = read_plan(store, batch_id)
            state = read_journal(store, batch_id).state
        except StoreError as error:
            raise ConfigurationError(str(error)) from error
        if plan is None:
            raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")
        yield store, plan, state


async def _cancel(arguments: argparse.Namespace) -> Summary:
    root, batch_id = split_batch(arguments.batch, arguments.output)
    options = BatchOptions(batch_id=batch_id)
    with closing(open_store(root)) as store:
        accounts = accounts_for(dict(arguments.credentials))
        async with open_batch(store, batch_id, None, accounts, options) as opened:
            if opened.settled:
                return standing(opened.plan, opened.state, store.address)[0]
            session_of = open_session(opened.plan, opened.clients, store, options, force=True, create=False)
            async with session_of as session:
                if arguments.in_flight:
                    for provider in session.lanes:
                        await session.cancel_in_flight(provider)
                summary, usage = await session.close_books()
    output.show_usage(usage, summary, to_stderr=arguments.json)
    return summary.model_copy(update={"exit_code": 0})


async def _reconcile(arguments: argparse.Namespace) -> Summary:
    root, batch_id = split_batch(arguments.batch, arguments.output)
    options = BatchOptions(batch_id=batch_id, recreate_unknown=True)
    with closing(open_store(root)) as store:
        accounts = accounts_for(dict(arguments.credentials))
        async with open_batch(store, batch_id, None, accounts, options) as opened:
            if opened.settled:
                summary, usage = standing(opened.plan, opened.state, store.address)
            else:
                async with open_session(opened.plan, opened.clients, store, options, create=False) as session:
                    await run(session)
                    summary, usage = await session.close_books()
    output.show_usage(usage, summary, to_stderr=arguments.json)
    return summary
