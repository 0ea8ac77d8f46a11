"""The main flow: a batch of prompts in, stored media and a bill out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, closing
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.billing.estimates import estimate_text
from prefect_imagine.engine.planning.persist import again_if_amended, persist_plan
from prefect_imagine.engine.planning.prepare import PreparedBatch, prepare_batch
from prefect_imagine.engine.planning.resolve import resolve
from prefect_imagine.errors import (
    FencedError,
    ImagineError,
    InvalidPromptsError,
    NotApprovedError,
)
from prefect_imagine.flows.approved import ApprovedRun, Run
from prefect_imagine.flows.fleet import Fleet, FleetRun
from prefect_imagine.flows.parameters import Bucket, Credentials, KindName, Minutes, Prompts, ProviderName
from prefect_imagine.flows.run_batch import run_batch
from prefect_imagine.flows.traces import in_trace_of_run
from prefect_imagine.prompts.requested import Defaults
from prefect_imagine.prompts.rotation import Rotation
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.registry import check_providers
from prefect_imagine.tasks.accounts import accounts, open_output
from prefect_imagine.tasks.artifacts import publish_estimate, publish_problems
from prefect_imagine.tasks.control import step_aside
from prefect_imagine.tasks.events import announce_low_credits
from prefect_imagine.tasks.limits import shared_limit
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.schedule import batch_id_of, planned_time, run_name

logger = logging.getLogger(__name__)

LINK_SECONDS = 7 * 24 * 3600


@flow(name="generate-batch", flow_run_name=run_name, persist_result=False, retries=0)
async def generate_batch(
    prompts: Prompts = None,
    output: str = "./outputs",
    provider: ProviderName | None = None,
    kind: KindName | None = None,
    model: str | None = None,
    credentials: Credentials = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: Bucket = None,
    rotation: Rotation | None = None,
    time_zone: str = "UTC",
    validate_only: bool = False,
    approve_above: Credits | None = None,
    approval_minutes: Minutes = 60.0,
    low_credits: dict[str, Credits] = {},  # noqa: B006
    again: bool = False,
    fleet: Annotated[Fleet, Field(title="fleet")] | None = None,
    options: BatchOptions = BatchOptions(),  # noqa: B008 frozen
) -> Any:
    """Generate a batch of prompts, store the outputs, and report what they cost.

    The prompts say what the batch shall hold. Running it again with the same batch id goes on where it
    stopped and creates nothing twice; with other prompts it creates what is new, keeps what is there, and
    withdraws what is gone before it was created. Without a batch id a run of a deployment is a batch of its
    own, and any other run the batch of what it asks for. Returns the batch's summary: batch id, items,
    credits, manifest, report.

    Args:
        prompts: A list of prompts, or the path or s3:// address of a .csv, .jsonl, .yaml or .txt file. None:
            go on with the batch named in the options. Prefect takes 512 KiB of parameters: above about 2,000
            prompts use a file.
        output: Folder or s3://bucket/prefix that batches are stored under.
        provider: Provider of prompts that name none.
        kind: Kind of prompts that name none; image where nothing is said.
        model: Model or generator of prompts that name none; the provider's first where nothing is said.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        rotation: Take only some rows of a long list, others each time. A batch keeps those that it began
            with.
        time_zone: Whose days are meant, in {date}, rotation and reports, such as Europe/Berlin.
        validate_only: A dry run: report the estimate and every problem; create and write nothing.
        approve_above: Pause until a person approves, when the run may cost more credits than this at all
            providers together, or has items without a price.
        approval_minutes: How long to wait for approval; no answer means no. A yes may lower max_credits and
            leave out providers; a run that crashes after it asks nobody again.
        low_credits: Credits by provider below which the event imagine.credits.low is sent, such as
            {"imaginelab": 200}.
        again: Make a new batch, and pay for it, although the same was asked for before.
        fleet: Run the batch's shards on a work pool, such as {"pool": "imagine"}: this run ends as Submitted
            once it has started theirs.
        options: How the batch is to be run: its id, budget, prices, rates and what to do about failures.
    """
    with logs_in_run() as log, in_trace_of_run():
        try:
            find = accounts(credentials)
            check_providers(low_credits, "low_credits")
            with closing(await open_output(output, bucket)) as store:
                at = planned_time(time_zone)
                defaults = Defaults(provider, kind, model, options.on_refusal)
                asked = await resolve(prompts, defaults, rotation, at, find, options)
                source = prompts if isinstance(prompts, str) else None
                log.batch_id = batch_id = batch_id_of(options, time_zone, source, asked, again=again)
                # The rows whose turn it is are others once the list has another length.
                keep = rotation is not None
                run: Run = run_batch
                workers = 1
                if fleet is not None and not validate_only:
                    fleet_run = await FleetRun.to(fleet, output, bucket, credentials)
                    fleet_run = await fleet_run.free(store, batch_id, wait=options.wait)
                    run, workers = fleet_run.run, fleet_run.workers
                announced: set[str] = set()

                @asynccontextmanager
                async def prepare(
                    options: BatchOptions, without: Collection[str] = ()
                ) -> AsyncIterator[PreparedBatch]:
                    prepared_of = prepare_batch(
                        store,
                        batch_id,
                        asked,
                        find,
                        options,
                        shared_limit,
                        source=source,
                        keep=keep,
                        without=without,
                        workers=workers,
                    )
                    async with prepared_of as prepared:
                        unannounced = prepared.balances.keys() - announced
                        announce_low_credits(
                            {name: prepared.balances[name] for name in unannounced}, low_credits
                        )
                        announced.update(unannounced)
                        yield prepared

                async def made() -> State[Any]:
                    if approve_above is not None and not validate_only:
                        approved = ApprovedRun(store, batch_id, options, approve_above, approval_minutes, run)
                        return await approved.run(prepare)
                    async with prepare(options) as prepared:
                        if validate_only:
                            return await _estimated(prepared)
                        return await run(store, await persist_plan(store, prepared), options)

                return await again_if_amended(made)
        except NotApprovedError as error:
            return Cancelled(message=f"nothing was created: {error}", data=error)
        except InvalidPromptsError as error:
            await publish_problems(error)
            return Failed(message=str(error), data=error)
        except FencedError as error:
            await step_aside()
            return Failed(message=str(error), data=error)
        except ImagineError as error:
            return Failed(message=str(error), data=error)


async def _estimated(prepared: PreparedBatch) -> State[Any]:
    lines = list(prepared.expected)
    await publish_estimate(prepared.batch_id, lines)
    return Completed(message=f"{estimate_text(lines)}; nothing was created", data=lines)
