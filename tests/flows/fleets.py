"""A work pool with a deployment of `generate-shard`, whose runs a test executes itself, in any order."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectAlreadyExists

from prefect_imagine import BatchOptions, Fleet, Prompt, generate_batch
from prefect_imagine.batches.fleet.dispatch import Dispatch, ShardEnd, put_end, read_dispatch
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.fleet.closing import closing_fleet
from prefect_imagine.flows import collect_batches, generate_shard
from prefect_imagine.flows.shard_runs import shard_runs
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store, open_store


@dataclass(frozen=True)
class Pool:
    """A work pool without workers.

    Attributes:
        root: where its batches are.
    """

    name: str
    root: Path

    @property
    def store(self) -> Store:
        """The root."""
        return open_store(str(self.root))

    async def hand_over(
        self, prompts: list[Prompt] | str | None, batch_id: str, workers: int | None = 2, **options: Any
    ) -> State[Any]:
        """Run `generate_batch` so that it hands the batch to this pool."""
        more = options.pop("parameters", {})
        chosen = BatchOptions.model_validate({"batch_id": batch_id, **options})
        state: State[Any] = await generate_batch(
            prompts,
            str(self.root),
            fleet=Fleet(pool=self.name, workers=workers),
            options=chosen,
            return_state=True,
            **more,
        )
        return state

    def dispatch(self, batch_id: str) -> Dispatch:
        """How a batch was last handed over."""
        found = read_dispatch(self.store, batch_id)
        assert found is not None
        return found

    async def runs(self, batch_id: str) -> dict[int, FlowRun]:
        """The runs that were scheduled for a batch, by shard."""
        async with shard_runs(self.name) as runs:
            return await runs.of(self.dispatch(batch_id), self.store.address)

    async def close(self) -> None:
        """Take away the deployment that serves it."""
        async with shard_runs(self.name) as runs:
            await runs.client.delete_deployment(runs.deployment)

    async def work(self, batch_id: str, *shards: int) -> dict[int, State[Any]]:
        """Do what runs of these shards do, or of all, side by side; and give the states they end in."""
        wanted = [run for shard, run in (await self.runs(batch_id)).items() if not shards or shard in shards]
        states = await asyncio.gather(
            *(generate_shard(**run.parameters, return_state=True) for run in wanted)
        )
        return {run.parameters["shard"]: state for run, state in zip(wanted, states, strict=True)}


async def made_work_pool(name: str) -> None:
    """A new work pool, of a name that no other has."""
    async with get_client() as client:
        with suppress(ObjectAlreadyExists):  # a busy server has made it, and Prefect's client has asked again
            await client.create_work_pool(WorkPoolCreate(name=name, type="process"))


async def made_pool(root: Path, name: str | None = None) -> Pool:
    """A new pool, and the deployment that serves it."""
    name = name or f"fleet-{uuid4().hex[:8]}"
    await made_work_pool(name)
    async with get_client() as client:
        await client.create_deployment(
            flow_id=await client.create_flow_from_name("generate-shard"),
            name=name,
            work_pool_name=name,
            entrypoint="prefect_imagine.flows.shard.generate_shard",
            path=".",
        )
    return Pool(name, root)


def foxes(count: int, first: int = 0) -> list[Prompt]:
    return [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(first, first + count)]


def once(prompts: list[Prompt]) -> Counter[tuple[str, str]]:
    return Counter(("imaginelab", each.prompt) for each in prompts)


def spent(sandbox: RunningSandbox) -> float:
    return float(sandbox.report(jobs=False)["charged"]["imaginelab"])


def names(states: dict[int, State[Any]]) -> dict[int, str | None]:
    return {shard: state.name for shard, state in sorted(states.items())}


@pytest.fixture
async def pool(keys: RunningSandbox, prefect_server: str, tmp_path: Path) -> Pool:
    return await made_pool(tmp_path / "out")


@pytest.fixture
def batch_id() -> str:
    return f"foxes-{uuid4().hex[:8]}"


async def collected(pool: Pool) -> State[Any]:
    state: State[Any] = await collect_batches(str(pool.root), return_state=True)
    return state


async def end_unrun(pool: Pool, batch_id: str, shard: int) -> None:
    """Nobody runs a shard."""
    put_end(pool.store, pool.dispatch(batch_id), shard, ShardEnd(at=utc_now()))
    async with closing_fleet(pool.store, pool.dispatch(batch_id)):
        pass
