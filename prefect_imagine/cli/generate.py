"""`generate` and `resume`: what is asked for, and of which batch."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter

from prefect_imagine.batches.options import SHARD_SIZE, BatchOptions
from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.cli import values
from prefect_imagine.cli.addresses import absolute, split_batch
from prefect_imagine.cli.blocks import accounts_for
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
from prefect_imagine.cli.run.control import go_on_in_place
from prefect_imagine.cli.run.job import Job, to_its_end
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.refusals import raise_problems
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.formats import FORMATS, Problems
from prefect_imagine.prompts.requested import Defaults, read_prompts
from prefect_imagine.prompts.source import asked_in, copy_of, largest_of
from prefect_imagine.prompts.spool import Spool
from prefect_imagine.prompts.templates import Variables, variables
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.on_refusal import FAIL, OnRefusal
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.reports.position import position_of
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import open_store

IDS = alternatives()
AMENDING = alternatives()
KINDS = tuple(kind.value for kind in GenerationKind)


def generate(
    prompts: Annotated[str, value(values.prompts), Parameter(allow_leading_hyphen=True)],
    /,
    *,
    provider: Annotated[str | None, any_provider("of rows that name none")] = None,
    kind: Annotated[str | None, choice("kind", KINDS, "K", "of rows that name none")] = None,
    model: Annotated[str | None, Parameter(metavar="MODEL")] = None,
    on_refusal: Annotated[OnRefusal, value(values.on_refusal, "RULE"), Parameter(show_default=False)] = FAIL,
    format: Annotated[
        str | None, choice("format", FORMATS, "FORMAT", "of the prompts, where the name does not tell")
    ] = None,
    batch_id: Annotated[str | None, Parameter(group=IDS, metavar="ID")] = None,
    again: Annotated[bool, Parameter(group=IDS)] = False,
    amend: Annotated[bool, Parameter(group=AMENDING)] = False,
    frozen: Annotated[bool, Parameter(group=AMENDING)] = False,
    shard_size: Annotated[int, value(values.shard_size, "N")] = SHARD_SIZE,
    dry_run: bool = False,
    under: Output = DEFAULT_OUTPUT,
    credentials: Credentials = (),
    run: Run = DEFAULT_RUN,
    json: Json = False,
) -> Summary:
    """Create what a batch of prompts lacks, store the outputs, print the bill.

    Args:
        prompts: .csv, .jsonl, .yaml or .txt file, s3:// address, or -
        model: of rows that name none.
        on_refusal: of rows that name none: fail; reseed: 2; fallback: [provider, provider:model].
        batch_id: default: the file's name, with the date where its prompts use it.
        again: make a new batch of the same prompts.
        amend: also a batch that was made from another file.
        frozen: an error where the batch exists with other prompts.
        shard_size: items that are planned, run and settled together.
        dry_run: print what would change, estimate and problems; spend nothing.
    """
    problems = Problems()
    at = utc_now()
    used = Variables(variables(at))
    asked = _read_asked(prompts, format, Defaults(provider, kind, model, on_refusal), used, problems)
    if problems.found:
        accounts = accounts_for(dict(credentials))
        asyncio.run(raise_problems(asked, accounts, _options_of(run), problems))
    return to_its_end(
        Job(
            root=absolute(under),
            batch_id=None if batch_id is None else check_batch_id(batch_id),
            asked=asked,
            credentials=dict(credentials),
            options=_options_of(run).model_copy(
                update={"frozen": frozen, "shard_size": shard_size, "on_refusal": on_refusal}
            ),
            json=json,
            verbose=run.verbose,
            again=again,
            amend=amend,
            dry_run=dry_run,
            source=None if prompts == "-" else absolute(prompts),
            used=used,
            at=at,
            fleet=run.fleet,
            workers=run.workers,
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
    """Go on with a batch where it stopped, or let one go on that is paused."""
    root, batch_id = split_batch(batch, under)
    with closing(open_store(root)) as store:
        if go_on_in_place(store, batch_id, json=json):
            return position_of(store, batch_id).summary(store.address)[0].model_copy(update={"exit_code": 0})
    return to_its_end(
        Job(
            root=root,
            batch_id=batch_id,
            asked=None,
            credentials=dict(credentials),
            options=_options_of(run),
            json=json,
            verbose=run.verbose,
            fleet=run.fleet,
            workers=run.workers,
        )
    )


def _read_asked(
    prompts: str,
    format: str | None,
    defaults: Defaults,
    known: Mapping[str, str],
    problems: Problems,
) -> Spool:
    """What the prompts file asks for; what is wrong with single prompts goes to `problems`."""
    if prompts != "-":
        return asked_in(prompts, format, defaults, known, problems)
    if format is None:
        raise ConfigurationError(
            "standard input does not tell its format: give --format csv, jsonl, yaml or txt"
        )
    with copy_of(sys.stdin.buffer, "standard input", largest_of(format)) as file:
        return Spool(read_prompts(file, format, defaults, known, problems))


def _options_of(run: RunOptions) -> BatchOptions:
    """The options that the command line gives."""
    prices: dict[str, PriceList] = {}
    for provider, price in (*run.price, *run.credit_price):
        prices[provider] = price.over(prices.get(provider, PriceList()))
    return BatchOptions(
        max_credits=run.max_credits,
        allowed_failures=run.allowed_failures,
        prices=prices,
        rates=dict(run.rate),
        retry_failed=run.retry_failed,
        recreate_unknown=run.recreate_unknown,
        wait=run.wait,
        detach=run.detach,
        webhook_url=run.webhook_url,
        timing=run.timing,
    )
