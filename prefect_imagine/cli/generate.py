"""`generate` and `resume`: prompts or a batch to a Prefect flow run."""

from __future__ import annotations

import argparse
import asyncio
import sys

import httpx

from prefect_imagine.batches.naming import default_batch_id
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.plan import BatchItem, check_batch_id
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import absolute, split_batch
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.ending import show_end
from prefect_imagine.cli.private_server import some_prefect_server
from prefect_imagine.cli.progress import STOPPED, TerminalObserver, stopped_text
from prefect_imagine.cli.relatives import tell_of_relatives
from prefect_imagine.cli.server import LateSharedLimit, prepare_prefect
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.preflight import estimate_lines
from prefect_imagine.engine.prepare import (
    PreparedBatch,
    persist_plan,
    prepare_batch,
    raise_problems,
    to_create,
)
from prefect_imagine.errors import BatchBusyError, ConfigurationError, FencedError, ImagineError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import Defaults, RequestedItem, read_prompts
from prefect_imagine.prompts.source import asked_in, read_stream
from prefect_imagine.prompts.templates import variables
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.reports.books import settle_books, standing
from prefect_imagine.reports.summary import (
    BAD_INPUT,
    BUSY,
    INFRASTRUCTURE,
    Summary,
)
from prefect_imagine.stores import Store, open_store


def generate(arguments: argparse.Namespace) -> Summary:
    """Make or resume the batch that a prompts file stands for."""
    problems = Problems()
    asked = read_asked(arguments, problems)
    if problems.found:
        accounts = accounts_for(dict(arguments.credentials))
        asyncio.run(raise_problems(asked, accounts, options_of(arguments), problems))
    source = "stdin" if arguments.prompts == "-" else arguments.prompts
    batch_id = arguments.batch_id or default_batch_id(source, asked, again=arguments.again)
    return _to_its_end(arguments, absolute(arguments.output), check_batch_id(batch_id), asked)


def resume(arguments: argparse.Namespace) -> Summary:
    """Go on with a batch."""
    root, batch_id = split_batch(arguments.batch, arguments.output)
    return _to_its_end(arguments, root, batch_id, None)


def read_asked(arguments: argparse.Namespace, problems: Problems) -> list[RequestedItem]:
    """What the prompts file asks for; what is wrong with single prompts goes to `problems`."""
    defaults = Defaults(arguments.provider, arguments.kind, arguments.model)
    if arguments.prompts != "-":
        return asked_in(arguments.prompts, arguments.format, defaults, utc_now(), problems)
    if arguments.format is None:
        raise ConfigurationError(
            "standard input does not tell its format: give --format csv, jsonl, yaml or txt"
        )
    data = read_stream(sys.stdin.buffer, "standard input")
    return read_prompts(data, arguments.format, defaults, variables(utc_now()), problems)


def options_of(arguments: argparse.Namespace, batch_id: str | None = None) -> BatchOptions:
    """The options that the command line gives."""
    prices: dict[str, PriceList] = {}
    for provider, price in arguments.price:
        prices[provider] = price.over(prices.get(provider, PriceList()))
    return BatchOptions(
        batch_id=batch_id,
        max_credits=arguments.max_credits,
        allowed_failures=arguments.allowed_failures,
        prices=prices,
        rates=dict(arguments.rate),
        retry_failed=arguments.retry_failed,
        recreate_unknown=arguments.recreate_unknown,
        wait=arguments.wait,
        timing=Timing(**arguments.timing),
    )


def _to_its_end(
    arguments: argparse.Namespace, root: str, batch_id: str, asked: list[RequestedItem] | None
) -> Summary:
    watcher = TerminalObserver()
    try:
        return asyncio.run(_run(arguments, root, batch_id, asked, watcher))
    except BaseException:  # a cancellation, or what Prefect makes of a signal
        if watcher.stop is None:
            raise
        message = stopped_text(watcher.stop, batch_id, root)
        return output.nothing_done(message, STOPPED[watcher.stop], batch_id)


async def _run(
    arguments: argparse.Namespace,
    root: str,
    batch_id: str,
    asked: list[RequestedItem] | None,
    watcher: TerminalObserver,
) -> Summary:
    prepare_prefect(verbose=arguments.verbose)
    options = options_of(arguments, batch_id)
    watcher.listen()
    store = open_store(root)
    try:
        accounts = accounts_for(dict(arguments.credentials))
        async with prepare_batch(store, batch_id, asked, accounts, options, LateSharedLimit) as prepared:
            if prepared.fresh and not arguments.again:
                await asyncio.to_thread(tell_of_relatives, store, prepared.plan)
            if getattr(arguments, "dry_run", False):
                return _dry_run(arguments, prepared, options, store)
            usage: Usage | None
            if prepared.settled:
                output.say(f"batch {batch_id} has nothing left to do")
                summary, usage = standing(prepared.plan, prepared.state, store.address)
                settle_books(store, prepared.plan, prepared.state, usage)
            else:
                _announce(prepared, options)
                prepared = await persist_plan(store, prepared)
                summary, usage = await _run_flow(arguments, store, prepared, options, watcher)
        if usage is not None:
            plan, state = prepared.plan, prepared.state
            if watcher.session is not None:
                plan, state = watcher.session.plan, watcher.session.journal.state
            show_end(plan, state, summary, usage, root, to_stderr=arguments.json)
        return summary
    finally:
        store.close()
        watcher.listen_alone()


def _dry_run(
    arguments: argparse.Namespace, prepared: PreparedBatch, options: BatchOptions, store: Store
) -> Summary:
    lines = estimate_lines(to_create(prepared, options))
    if lines:
        output.show_estimate(lines, to_stderr=arguments.json)
    else:
        output.line(f"batch {prepared.plan.batch_id}: nothing is left to create", to_stderr=arguments.json)
    summary, _ = standing(prepared.plan, prepared.state, store.address)
    known = add_credits(line.credits for line in lines if line.credits is not None)
    unpriced = sum(line.items for line in lines if line.credits is None)
    credits = summary.credits.model_copy(update={"estimated": known})
    return summary.model_copy(update={"credits": credits, "unpriced_items": unpriced, "exit_code": 0})


def _announce(prepared: PreparedBatch, options: BatchOptions) -> None:
    """Say what creating again is going to cost, before it does."""
    again = _created_again(prepared, options)
    if not again:
        return
    priced = [item.estimate.credits for item in again if item.estimate.credits is not None]
    unpriced = len(again) - len(priced)
    note = f" and {unpriced} without a price" if unpriced else ""
    output.say(f"creating {len(again)} items again: {add_credits(priced)} credits estimated{note}")


def _created_again(prepared: PreparedBatch, options: BatchOptions) -> list[BatchItem]:
    wanted = to_create(prepared, options)
    return [item for item in wanted if options.creates_again(prepared.state[item.index].phase)]


async def _run_flow(
    arguments: argparse.Namespace,
    store: Store,
    prepared: PreparedBatch,
    options: BatchOptions,
    watcher: TerminalObserver,
) -> tuple[Summary, Usage | None]:
    failure: Exception | None = None
    try:
        state = await _flow_run(arguments, store, prepared, options, watcher)
        failure = watcher.failure or (None if watcher.summary else _as_error(state))
    except Exception as error:
        # With its books closed it has ended, although Prefect may know nothing of its flow run any more.
        failure = None if watcher.summary else error
    if failure is not None:
        return _broken(prepared, store.address, failure, watcher), None
    assert watcher.summary is not None, "a flow run that did not fail has closed its books"
    return watcher.summary, watcher.usage


async def _flow_run(
    arguments: argparse.Namespace,
    store: Store,
    prepared: PreparedBatch,
    options: BatchOptions,
    watcher: TerminalObserver,
) -> object:
    """The state that the flow run ends with."""
    from prefect.exceptions import Pause

    from prefect_imagine.flows.command_line import flow_of

    try:
        async with some_prefect_server():
            generate_batch = flow_of(store, prepared, watcher)
            return await generate_batch(
                output=store.address,
                credentials=dict(arguments.credentials),
                options=options,
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


def _broken(prepared: PreparedBatch, address: str, failure: Exception, watcher: TerminalObserver) -> Summary:
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
    if watcher.session is not None:
        known = watcher.session
        summary, _ = standing(known.plan, known.journal.state, known.store.address)
    else:
        summary, _ = standing(prepared.plan, prepared.state, address)
    return summary.model_copy(update={"error": message, "exit_code": code})
