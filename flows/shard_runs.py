"""The flow runs of a batch's shards on a work pool."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from shlex import quote
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Crashed

from prefect_imagine.batches.fleet.dispatch import Dispatch
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.flows.traces import labels_of_trace
from prefect_imagine.providers.models import digest
from prefect_imagine.tasks.automations import SHARD_FLOW
from prefect_imagine.tasks.server import prefect_server, server_errors

logger = logging.getLogger(__name__)

_PAGE = 200


@dataclass(frozen=True)
class ShardRuns:
    """Starts and finds runs of shards by the deployment that serves a work pool."""

    client: PrefectClient
    pool: str
    pool_type: str
    deployment: UUID

    async def online_workers(self) -> int:
        """How many workers of the pool are online."""
        with server_errors():
            workers = await self.client.read_workers_for_work_pool(self.pool, limit=_PAGE)
        return sum(each.status is WorkerStatus.ONLINE for each in workers)

    async def start(self, dispatch: Dispatch, address: str, shard: int) -> FlowRun:
        """Start the run of a shard, unless it was started before. Raises `ConfigurationError`.

        Args:
            address: of the root, by which its batches differ from those of others.
        """
        tag = tag_of(dispatch, address)
        with server_errors():
            return await self.client.create_flow_run_from_deployment(
                self.deployment,
                name=f"generate {dispatch.batch_id} shard {shard}",
                parameters={
                    "batch_id": dispatch.batch_id,
                    "shard": shard,
                    "generation": dispatch.generation,
                    "output": dispatch.output,
                    "bucket": dispatch.bucket,
                    "credentials": dispatch.credentials,
                },
                tags=[tag],
                idempotency_key=f"{tag}:{shard}",
                labels=labels_of_trace(),
            )

    async def of(self, dispatch: Dispatch, address: str) -> dict[int, FlowRun]:
        """The runs of shards that a fleet was handed, by number. Raises `ConfigurationError`."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag_of(dispatch, address)]))
        found: list[FlowRun] = []
        with server_errors():
            while page := await self.client.read_flow_runs(
                flow_run_filter=wanted, limit=_PAGE, offset=len(found)
            ):
                found += page
        return {int(run.parameters["shard"]): run for run in found if "shard" in run.parameters}

    async def begin_again(self, run: FlowRun, at_most: int) -> bool:
        """Schedule a run again that has crashed or was lost, unless that has happened so many times; and say
        whether. Raises `ConfigurationError`."""
        with server_errors():
            states = await self.client.read_flow_run_states(run.id)
            if sum(state.is_crashed() for state in states) >= at_most:
                return False
            if run.state is None or not run.state.is_crashed():
                await self.client.set_flow_run_state(
                    run.id, Crashed(message="its worker is gone"), force=True
                )
            await self.client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        return True


@dataclass(frozen=True)
class Whereabouts:
    """Which batch a run of a shard belongs to, and where it lies, as the run was told."""

    batch_id: str
    output: str
    bucket: str | None


async def whereabouts_of(run_id: UUID) -> Whereabouts:
    """The batch of a run of `generate-shard`. Raises `ConfigurationError`: there is no such run."""
    async with prefect_server() as client:
        with server_errors():
            try:
                run = await client.read_flow_run(run_id)
                of_flow = (await client.read_flow(run.flow_id)).name
            except ObjectNotFound as error:
                raise ConfigurationError(f"there is no flow run {run_id}") from error
    if of_flow != SHARD_FLOW:
        raise ConfigurationError(f"{run.name} is a run of {of_flow}, and of no shard")
    told = run.parameters
    return Whereabouts(told["batch_id"], told["output"], told["bucket"])


def tag_of(dispatch: Dispatch, address: str) -> str:
    """Names the runs of one handing over, among all that a Prefect server knows."""
    return f"imagine:{digest([address])[:12]}:{dispatch.batch_id}:{dispatch.generation}"


@asynccontextmanager
async def shard_runs(pool: str) -> AsyncIterator[ShardRuns]:
    """The runs of shards on a work pool.

    Raises:
        ConfigurationError: there is no Prefect server, no such pool, or no deployment that serves it.
    """
    async with prefect_server() as client:
        with server_errors():
            try:
                known = await client.read_work_pool(pool)
            except ObjectNotFound as error:
                raise ConfigurationError(
                    f"there is no work pool {pool!r}: "
                    f"`prefect work-pool create {quote(pool)} --type process` makes one"
                ) from error
            found = await client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[SHARD_FLOW])),
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            )
        if not found:
            raise ConfigurationError(
                f"no deployment of {SHARD_FLOW} serves work pool {pool!r}: "
                f"`prefect deploy --name {SHARD_FLOW} --pool {quote(pool)}` makes one, or moves here what "
                "serves another pool: where both need one, give it a second entry in prefect.yaml"
            )
        yield ShardRuns(client, pool, known.type, min(found, key=lambda each: each.name).id)
