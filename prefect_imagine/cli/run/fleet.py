"""Handing a batch to the workers of a Prefect work pool from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.cli import output
from prefect_imagine.cli.server import prepare_prefect
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store

if TYPE_CHECKING:
    from prefect_imagine.flows.fleet import FleetRun


async def fleet_run(
    pool: str | None, workers: int | None, root: str, credentials: Mapping[str, str], *, verbose: bool
) -> FleetRun | None:
    """What hands batches to a pool; `None` where none is named. Raises `ConfigurationError`."""
    if pool is None:
        return None
    prepare_prefect(verbose=verbose)
    from prefect_imagine.flows.fleet import Fleet, FleetRun

    return await FleetRun.to(Fleet(pool=pool, workers=workers), root, None, dict(credentials))


async def handed_over(
    run: FleetRun, store: Store, prepared: PreparedBatch, options: BatchOptions, *, to_stderr: bool
) -> Summary:
    """Hand a batch over whose plans are written, and say who goes on with it. Raises `ImagineError`."""
    summary, dispatch = await run.submit(store, prepared, options)
    shards = len(dispatch.shards)
    output.line(
        f"batch {prepared.batch_id} goes on on pool {dispatch.pool}: {shards} "
        f"{'shard' if shards == 1 else 'shards'}, {summary.items.planned} items to create; "
        f"prefect-imagine status {prepared.batch_id} tells how far they are",
        to_stderr=to_stderr,
    )
    if run.online == 0:
        output.say(
            f"no worker of pool {dispatch.pool} is online: nothing runs until one is "
            f"(prefect worker start --pool {dispatch.pool})"
        )
    return summary
