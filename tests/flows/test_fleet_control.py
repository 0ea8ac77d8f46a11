"""What people and automations do to a batch that a fleet has: pause, suspend, cancel, or wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.states import Paused, Running, Suspended

from prefect_imagine.batches.fleet.dispatch import shards_to_come
from prefect_imagine.batches.submission import read_submission
from prefect_imagine.flows import cancel_batch, fleet, generate_shard
from prefect_imagine.reports.position import position_of
from prefect_imagine.sandbox import RunningSandbox
from tests.books import assert_bill_is_exact, assert_paid_once
from tests.engine.waiting import until
from tests.flows.fleets import Pool, batch_id, foxes, once, pool
from tests.flows.prefect_api import run_named

__all__ = ["batch_id", "pool"]

pytestmark = pytest.mark.long
SLOW = {"limit": 4, "window_seconds": 5.0, "headers": True}
FAST = {"limit": 10**6, "window_seconds": 5.0, "headers": True}


@dataclass
class FirstShard:
    """The run of a batch's first shard in its middle; nobody has begun the second."""

    pool: Pool
    batch_id: str
    sandbox: RunningSandbox
    run: FlowRun
    running: asyncio.Task[State[Any]]

    @property
    def accepted(self) -> int:
        return sum(self.sandbox.books.accepted.values())

    async def set(self, state: State[Any]) -> None:
        async with get_client() as client:
            await client.set_flow_run_state(self.run.id, state, force=True)

    @property
    def stored(self) -> int:
        return position_of(self.pool.store, self.batch_id).bill.counts.stored

    def check(self) -> None:
        """Everything is paid once, and the books are closed and exact."""
        assert read_submission(self.pool.store, self.batch_id) is None
        assert_paid_once(self.sandbox, once(foxes(100)))
        assert_bill_is_exact(self.pool.store, self.batch_id, self.sandbox)


@pytest.fixture
async def first(pool: Pool, keys: RunningSandbox, batch_id: str) -> AsyncIterator[FirstShard]:
    keys.configure(rate_limits={"imaginelab": SLOW})
    await pool.hand_over(foxes(100), batch_id)
    parameters = (await pool.runs(batch_id))[1].parameters
    running = asyncio.create_task(_run(parameters))
    await until(lambda: sum(keys.books.accepted.values()) >= 3)
    run = await run_named(f"generate {batch_id} shard 1", "Running")
    yield FirstShard(pool, batch_id, keys, run, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _run(parameters: dict[str, Any]) -> State[Any]:
    state: State[Any] = await generate_shard(**parameters, return_state=True)
    return state


async def test_a_paused_run_of_a_shard_creates_nothing_until_it_goes_on(first: FirstShard) -> None:
    await first.set(Paused(timeout_seconds=300))
    await until(lambda: first.stored >= 1)
    held = first.accepted
    first.sandbox.configure(rate_limits={"imaginelab": FAST})
    await until(lambda: first.stored == held)
    assert first.accepted == held
    await first.set(Running())
    assert (await first.running).is_completed()
    await first.pool.work(first.batch_id, 2)
    first.check()


async def test_the_shard_of_a_suspended_run_waits_for_it_to_go_on(first: FirstShard) -> None:
    await first.set(Suspended(timeout_seconds=300))
    with pytest.raises(Pause):
        await first.running
    first.sandbox.configure(rate_limits={"imaginelab": FAST})
    await first.pool.work(first.batch_id, 2)
    assert list(shards_to_come(first.pool.store, first.pool.dispatch(first.batch_id))) == [1]
    assert read_submission(first.pool.store, first.batch_id), "its books are open"
    await first.pool.work(first.batch_id, 1)
    first.check()


async def test_a_batch_is_cancelled_by_the_run_of_one_of_its_shards(
    pool: Pool, keys: RunningSandbox, batch_id: str
) -> None:
    await pool.hand_over(foxes(100), batch_id)
    run = (await pool.runs(batch_id))[2]
    cancelled: State[Any] = await cancel_batch(flow_run_id=run.id, return_state=True)
    assert cancelled.is_completed(), cancelled
    assert batch_id in (cancelled.message or "")
    states = await pool.work(batch_id)
    assert {state.name for state in states.values()} == {"Cancelled"}
    assert not keys.books.accepted


async def test_by_another_run_nothing_is_cancelled(pool: Pool, batch_id: str) -> None:
    state = await pool.hand_over(foxes(100), batch_id)
    handed_over = state.state_details.flow_run_id
    refused: State[Any] = await cancel_batch(flow_run_id=handed_over, return_state=True)
    assert (refused.is_failed(), "of no shard" in (refused.message or "")) == (True, True)
    unknown: State[Any] = await cancel_batch(flow_run_id=uuid4(), return_state=True)
    assert (unknown.is_failed(), "no flow run" in (unknown.message or "")) == (True, True)


async def test_a_second_handing_over_waits_for_the_first_where_it_is_told_to(
    pool: Pool, keys: RunningSandbox, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.2)
    await pool.hand_over(foxes(100), batch_id)
    scheduled = await pool.runs(batch_id)
    second = asyncio.create_task(pool.hand_over(foxes(160), batch_id, wait=True))
    await pool.work(batch_id)
    assert not second.done()
    async with get_client() as client:
        for run in scheduled.values():  # that nobody has run, since the test did what they do
            await client.delete_flow_run(run.id)
    assert (await second).name == "Submitted"
    assert pool.dispatch(batch_id).generation == 2
    await pool.work(batch_id)
    assert_paid_once(keys, once(foxes(160)))
