"""The main flow: a batch of prompts in, stored media and a bill out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from prefect_imagine.batches.engine import run
from prefect_imagine.batches.formats import Problems
from prefect_imagine.batches.opening import Accounts, Opened, handed_over, keep, open_batch, raise_problems
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.prompts import Asked, Defaults, Prompt, ask, prompts_to_rows
from prefect_imagine.batches.results import settle_books, standing
from prefect_imagine.batches.session import observer, open_session
from prefect_imagine.batches.source import asked_in, variables
from prefect_imagine.batches.summary import Summary
from prefect_imagine.batches.usage import Usage
from prefect_imagine.errors import ImagineError
from prefect_imagine.providers.clock import utc_now
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts, open_output
from prefect_imagine.tasks.artifacts import publish
from prefect_imagine.tasks.events import announce
from prefect_imagine.tasks.limits import shared_limit
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.waves import PrefectStages

LINK_SECONDS = 7 * 24 * 3600


def _run_name() -> str:
    options = flow_run.parameters.get("options")
    batch_id = options.get("batch_id") if isinstance(options, dict) else getattr(options, "batch_id", None)
    return f"generate {batch_id or flow_run.id}"


@flow(name="generate-batch", flow_run_name=_run_name, persist_result=False, retries=0)
async def generate_batch(
    prompts: Annotated[
        list[Prompt] | str | None,
        Field(description="Prompts, or a file or s3:// address of them; empty to resume a batch."),
    ] = None,
    output: Annotated[
        str, Field(description="Folder or s3://bucket/prefix that the batch is stored under.")
    ] = "./outputs",
    provider: Annotated[str | None, Field(description="Provider of prompts that name none.")] = None,
    kind: Annotated[str | None, Field(description="Kind of prompts that name none.")] = None,
    model: Annotated[str | None, Field(description="Model of prompts that name none.")] = None,
    credentials: Annotated[
        dict[str, str],
        Field(description="Credentials block by provider; the environment's keys are taken otherwise."),
    ] = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: Annotated[
        str | None,
        Field(description="An S3Bucket block to store in; `output` is then the folder within it."),
    ] = None,
    options: Annotated[BatchOptions, Field(description="How the batch is to be run.")] = BatchOptions(),  # noqa: B008 frozen
) -> State[Any]:
    """Generate a batch of prompts, store the outputs, and report what they cost.

    Running it again with the same batch id goes on where it stopped and creates nothing twice.
    """
    with logs_in_run():
        try:
            store = await open_output(output, bucket)
            with closing(store):
                defaults = Defaults(provider, kind, model)
                return await _run(store, prompts, defaults, accounts(credentials), options)
        except ImagineError as error:
            watcher = observer.get()
            if watcher is not None:
                watcher.failed(error)
            return Failed(message=str(error))


async def _run(
    store: Store,
    prompts: Sequence[Prompt] | str | None,
    defaults: Defaults,
    find: Accounts,
    options: BatchOptions,
) -> State[Any]:
    opened = handed_over.get()
    if opened is not None:
        return await _generate(store, opened, options)
    batch_id = options.batch_id or str(flow_run.id)
    problems = Problems()
    asked = _asked(prompts, defaults, problems)
    if problems.found:
        await raise_problems(asked or (), find, options, problems)
    async with open_batch(store, batch_id, asked, find, options, shared_limit) as opened:
        return await _generate(store, await keep(store, opened), options)


async def _generate(store: Store, opened: Opened, options: BatchOptions) -> State[Any]:
    if opened.settled:
        summary, usage = standing(opened.plan, opened.state, store.address)
        settle_books(store, opened.plan, opened.state, usage)
    else:
        async with open_session(
            opened.plan, opened.clients, store, options, balances=opened.balances
        ) as session:
            with PrefectStages(session) as stages:
                await run(session, stages)
            summary, usage = await session.close_books()
    announce(summary)
    await publish(summary, usage, report_link(store, usage))
    return flow_state(summary, options.allowed_failures)


def _asked(
    prompts: Sequence[Prompt] | str | None, defaults: Defaults, problems: Problems
) -> list[Asked] | None:
    if prompts is None:
        return None
    if isinstance(prompts, str):
        return asked_in(prompts, None, defaults, utc_now(), problems)
    return ask(prompts_to_rows(prompts), defaults, variables(utc_now()), problems)


def report_link(store: Store, usage: Usage) -> str:
    """Where the report of a batch can be opened."""
    return store.link(f"{usage.batch_id}/report.html", expires=LINK_SECONDS)


def flow_state(summary: Summary, allowed_failures: int) -> State[Any]:
    """Completed, or Failed with a message that counts what is missing."""
    items = summary.items
    counts = f"{items.stored} of {items.total} stored"
    missing = [
        f"{count} {name}"
        for name, count in (("failed", items.failed), ("unknown", items.unknown), ("planned", items.planned))
        if count
    ]
    message = ", ".join([counts, *missing])
    if summary.error:
        return Failed(message=f"{message}: {summary.error}")
    if items.failed + items.unknown + items.planned > allowed_failures:
        return Failed(message=message)
    return Completed(message=message)
