"""`generate` and `resume`: prompts or a batch to a Prefect flow run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import httpx
from cyclopts import Parameter

from prefect_imagine.batches.naming import default_batch_id
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem, check_batch_id
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute, split_batch
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.ending import show_end
from prefect_imagine.cli.options import (
    DEFAULT_OUTPUT,
    DEFAULT_RUN,
    Batch,
    Credentials,
    Json,
    Output,
    Run,
    RunOptions,
    alternatives,
    any_provider,
    choice,
    value,
)
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
from prefect_imagine.prompts.formats import FORMATS, Problems
from prefect_imagine.prompts.requested import Defaults, RequestedItem, read_prompts
from prefect_imagine.prompts.source import asked_in, read_stream
from prefect_imagine.prompts.templates import variables
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.reports.books import settle_books, standing
from prefect_imagine.reports.summary import (
    BAD_INPUT,
    BUSY,
    INFRASTRUCTURE,
    Summary,
)
from prefect_imagine.stores import Store, open_store

IDS = alternatives()
KINDS = tuple(kind.value for kind in GenerationKind)


@dataclass(frozen=True)
class _Job:
    """A batch to be made or resumed, and how; without `asked`, from its plan alone."""

    root: str
    batch_id: str
    asked: list[RequestedItem] | None
    credentials: Mapping[str, str]
    options: BatchOptions
    json: bool
    verbose: bool
    again: bool = False
    dry_run: bool = False


def generate(
    prompts: Annotated[str, value(values.prompts), Parameter(allow_leading_hyphen=True)],
    /,
    *,
    provider: Annotated[str | None, any_provider("of rows that name none")] = None,
    kind: Annotated[str | None, choice("kind", KINDS, "K", "of rows that name none")] = None,
    model: Annotated[str | None, Parameter(metavar="MODEL")] = None,
    format: Annotated[
        str | None, choice("format", FORMATS, "FORMAT", "of the prompts, where the name does not tell")
    ] = None,
    batch_id: Annotated[str | None, Parameter(group=IDS, metavar="ID")] = None,
    again: Annotated[bool, Parameter(group=IDS)] = False,
    dry_run: bool = False,
    under: Output = DEFAULT_OUTPUT,
    credentials: Credentials = (),
    run: Run = DEFAULT_RUN,
    json: Json = False,
) -> Summary:
    """Create a batch of prompts, store the outputs, print the bill.

    Args:
        prompts: .csv, .jsonl, .yaml or .txt file, s3:// address, or -
        model: of rows that name none.
        batch_id: default: file name and a hash, so that running again resumes.
        again: make a new batch of the same prompts.
        dry_run: print estimate and problems, spend nothing.
    """
    problems = Problems()
    asked = _read_asked(prompts, format, Defaults(provider, kind, model), problems)
    if problems.found:
        accounts = accounts_for(dict(credentials))
        asyncio.run(raise_problems(asked, accounts, _options_of(run), problems))
    source = "stdin" if prompts == "-" else prompts
    batch_id = check_batch_id(batch_id or default_batch_id(source, asked, again=again))
    return _to_its_end(
        _Job(
            root=absolute(under),
            batch_id=batch_id,
            asked=asked,
            credentials=dict(credentials),
            options=_options_of(run, batch_id),
            json=json,
            verbose=run.verbose,
            again=again,
            dry_run=dry_run,
        )
    )


def resume(
    batch: Batch,
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    credentials: Credentials = (),
    run: Run = DEFAULT_RUN,
    json: Json = False,
) -> Summary:
    """Go on with a batch where it stopped."""
    root, batch_id = split_batch(batch, under)
    options = _options_of(run, batch_id)
    return _to_its_end(_Job(root, batch_id, None, dict(credentials), options, json, run.verbose))


def _read_asked(
    prompts: str, format: str | None, defaults: Defaults, problems: Problems
) -> list[RequestedItem]:
    """What the prompts file asks for; what is wrong with single prompts goes to `problems`."""
    if prompts != "-":
        return asked_in(prompts, format, defaults, utc_now(), problems)
    if format is None:
        raise ConfigurationError(
            "standard input does not tell its format: give --format csv, jsonl, yaml or txt"
        )
    data = read_stream(sys.stdin.buffer, "standard input")
    return read_prompts(data, format, defaults, variables(utc_now()), problems)


def _options_of(run: RunOptions, batch_id: str | None = None) -> BatchOptions:
    """The options that the command line gives."""
    prices: dict[str, PriceList] = {}
    for provider, price in run.price:
        prices[provider] = price.over(prices.get(provider, PriceList()))
    return BatchOptions(
        batch_id=batch_id,
        max_credits=run.max_credits,
        allowed_failures=run.allowed_failures,
        prices=prices,
        rates=dict(run.rate),
        retry_failed=run.retry_failed,
        recreate_unknown=run.recreate_unknown,
        wait=run.wait,
        timing=run.timing,
    )


def _to_its_end(job: _Job) -> Summary:
    watcher = TerminalObserver()
    try:
        return asyncio.run(_run(job, watcher))
    except BaseException:  # a cancellation, or what Prefect makes of a signal
        if watcher.stop is None:
            raise
        message = stopped_text(watcher.stop, job.batch_id, job.root)
        return output.nothing_done(message, STOPPED[watcher.stop], job.batch_id)


async def _run(job: _Job, watcher: TerminalObserver) -> Summary:
    prepare_prefect(verbose=job.verbose)
    batch_id, options = job.batch_id, job.options
    watcher.listen()
    store = open_store(job.root)
    try:
        accounts = accounts_for(job.credentials)
        async with prepare_batch(store, batch_id, job.asked, accounts, options, LateSharedLimit) as prepared:
            if prepared.fresh and not job.again:
                await asyncio.to_thread(tell_of_relatives, store, prepared.plan)
            if job.dry_run:
                return _dry_run(job, prepared, store)
            usage: Usage | None
            if prepared.settled:
                output.say(f"batch {batch_id} has nothing left to do")
                summary, usage = standing(prepared.plan, prepared.state, store.address)
                settle_books(store, prepared.plan, prepared.state, usage)
            else:
                _announce(prepared, options)
                prepared = await persist_plan(store, prepared)
                summary, usage = await _run_flow(job, store, prepared, watcher)
        if usage is not None:
            plan, state = prepared.plan, prepared.state
            if watcher.session is not None:
                plan, state = watcher.session.plan, watcher.session.journal.state
            show_end(plan, state, summary, usage, job.root, to_stderr=job.json)
        return summary
    finally:
        store.close()
        watcher.listen_alone()


def _dry_run(job: _Job, prepared: PreparedBatch, store: Store) -> Summary:
    lines = estimate_lines(to_create(prepared, job.options))
    if lines:
        output.show_estimate(lines, to_stderr=job.json)
    else:
        output.line(f"batch {prepared.plan.batch_id}: nothing is left to create", to_stderr=job.json)
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
    job: _Job, store: Store, prepared: PreparedBatch, watcher: TerminalObserver
) -> tuple[Summary, Usage | None]:
    failure: Exception | None = None
    try:
        state = await _flow_run(job, store, prepared, watcher)
        failure = watcher.failure or (None if watcher.summary else _as_error(state))
    except Exception as error:
        # With its books closed it has ended, although Prefect may know nothing of its flow run any more.
        failure = None if watcher.summary else error
    if failure is not None:
        return _broken(prepared, store.address, failure, watcher), None
    assert watcher.summary is not None, "a flow run that did not fail has closed its books"
    return watcher.summary, watcher.usage


async def _flow_run(job: _Job, store: Store, prepared: PreparedBatch, watcher: TerminalObserver) -> object:
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
