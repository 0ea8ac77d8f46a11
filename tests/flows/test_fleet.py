"""Batches whose shards are runs on a work pool: handed over, run side by side, closed once."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled
from pydantic import SecretStr

from prefect_imagine import AIVisualStudioCredentials
from prefect_imagine.batches.control.commands import Command, write_command
from prefect_imagine.batches.fleet.dispatch import read_dispatch
from prefect_imagine.batches.submission import read_submission
from prefect_imagine.flows import generate_shard
from prefect_imagine.flows.shard_runs import shard_runs
from prefect_imagine.reports.position import position_of
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from tests.books import assert_bill_is_exact, assert_paid_once, assert_stored_exactly
from tests.flows.fleets import (
    Pool,
    batch_id,
    collected,
    end_unrun,
    foxes,
    made_work_pool,
    names,
    once,
    pool,
    spent,
)
from tests.flows.prefect_api import answered, artifacts_of, events_about, flow_run_of, run_named, until

__all__ = ["batch_id", "pool"]

pytestmark = pytest.mark.long


class TestABatch:
    async def test_it_is_divided_run_and_closed_by_the_last(
        self, pool: Pool, keys: RunningSandbox, prefect_server: str, batch_id: str
    ) -> None:
        submitted = await pool.hand_over(foxes(120), batch_id)
        assert (submitted.is_completed(), submitted.name) == (True, "Submitted"), submitted
        assert submitted.message == f"2 shards on pool {pool.name!r}: 120 to create"
        assert not keys.books.accepted
        states = await pool.work(batch_id)
        assert names(states) == {1: "Completed", 2: "Completed"}
        assert_paid_once(keys, once(foxes(120)))
        assert_stored_exactly(pool.store, batch_id, keys)
        assert_bill_is_exact(pool.store, batch_id, keys)
        told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 2)
        assert [event["event"] for event in told] == ["imagine.batch.started", "imagine.batch.finished"]
        assert told[-1]["payload"]["items"]["stored"] == 120
        closing = [state for state in states.values() if state.message == "120 of 120 stored"]
        assert len(closing) == 1, states
        found = await artifacts_of(prefect_server, (await flow_run_of(closing[0])).id)
        assert {"imagine-report", "imagine-usage"} <= set(found)
        assert (await closing[0].result()).requests.create == 120
        assert (await collected(pool)).message == "0 unsettled batches"

    async def test_what_is_new_is_handed_over_and_nothing_else(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        await pool.work(batch_id)
        submitted = await pool.hand_over(foxes(101), batch_id)
        assert submitted.name == "Submitted"
        dispatch = pool.dispatch(batch_id)
        assert (dispatch.generation, [*dispatch.shards], dispatch.carried) == (2, [3], {"imaginelab": 500})
        assert (await pool.work(batch_id))[3].message == "101 of 101 stored"
        assert_paid_once(keys, once(foxes(101)))
        state = await pool.hand_over(foxes(101), batch_id)
        assert (state.name, state.message) == ("Completed", "101 of 101 stored")

    async def test_what_is_gone_is_withdrawn_and_what_failed_is_created_again(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        keys.faults.add(FaultRule("job_fails", provider="imaginelab", times=1))
        await pool.work(batch_id, 1)
        await end_unrun(pool, batch_id, 2)  # nobody runs it
        state = await pool.hand_over(foxes(60), batch_id, retry_failed=True)
        assert state.name == "Submitted"
        states = await pool.work(batch_id)
        assert sorted(states) == [1, 2]
        items = position_of(pool.store, batch_id).bill.counts
        assert (items.stored, items.withdrawn, items.failed) == (60, 40, 0)
        assert keys.books.accepted.total() == 61

    async def test_failures_are_judged_for_the_whole_batch(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        keys.faults.add(FaultRule("job_fails", provider="imaginelab", times=3))
        await pool.hand_over(foxes(100), batch_id, allowed_failures=2)
        first = (await pool.work(batch_id, 1))[1]
        assert (first.name, first.message) == ("Completed", "47 of 50 stored, 3 failed")
        last = (await pool.work(batch_id, 2))[2]
        assert (last.name, last.message) == ("Failed", "97 of 100 stored, 3 failed")

    async def test_it_is_approved_before_it_is_handed_over(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        few = {"approve_above": 1, "approval_minutes": 0.01}
        state = await pool.hand_over(foxes(100), batch_id, parameters=few)
        assert state.is_cancelled()
        assert "nobody approved it" in (state.message or "")
        assert read_dispatch(pool.store, batch_id) is None

    async def test_jobs_that_are_let_go_are_collected(
        self, pool: Pool, keys: RunningSandbox, prefect_server: str, batch_id: str
    ) -> None:
        keys.configure(latency={"image": (600.0, 600.0)})
        await pool.hand_over(foxes(100), batch_id, detach=True)
        states = await pool.work(batch_id)
        assert names(states) == {1: "Completed", 2: "Completed"}
        assert "50 under way" in (states[1].message or "")
        assert (await collected(pool)).message == "1 unsettled batches"
        keys.advance(700)
        assert (await collected(pool)).is_completed()
        assert_stored_exactly(pool.store, batch_id, keys)
        told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 2)
        assert [event["event"] for event in told] == ["imagine.batch.started", "imagine.batch.finished"]


class TestWhoHasIt:
    async def test_a_second_handing_over_is_busy_while_the_first_goes_on(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        assert (await pool.hand_over(foxes(100), batch_id)).name == "Submitted"
        state = await pool.hand_over(foxes(101), batch_id)
        assert state.is_failed()
        assert "is being run by 2 runs on pool" in (state.message or "")
        assert len(await pool.runs(batch_id)) == 2

    async def test_a_second_one_starts_what_the_first_was_killed_before(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(150), batch_id, workers=3)
        runs = await pool.runs(batch_id)
        async with get_client() as client:
            for shard in (2, 3):
                await client.delete_flow_run(runs[shard].id)
        pool.store.delete(f"{batch_id}/fleet/00001/started")
        state = await pool.hand_over(foxes(150), batch_id)
        assert "is being run by 3 runs on pool" in (state.message or "")
        assert (await pool.runs(batch_id)).keys() == {1, 2, 3}
        await pool.work(batch_id)
        assert_paid_once(keys, once(foxes(150)))

    async def test_one_whose_runs_are_gone_is_handed_over_again(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        old = await pool.runs(batch_id)
        async with get_client() as client:
            await client.delete_flow_run(old[1].id)
            await client.set_flow_run_state(old[2].id, Cancelled(), force=True)
        assert (await pool.hand_over(foxes(100), batch_id)).name == "Submitted"
        assert pool.dispatch(batch_id).generation == 2
        late: State[Any] = await generate_shard(**old[2].parameters, return_state=True)
        assert late.is_cancelled()
        assert "handed over again" in (late.message or "")
        await pool.work(batch_id)
        assert_paid_once(keys, once(foxes(100)))

    async def test_a_run_begun_again_starts_no_shard_twice(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        dispatch = pool.dispatch(batch_id)
        before = await pool.runs(batch_id)
        async with shard_runs(pool.name) as runs:
            again = [await runs.start(dispatch, pool.store.address, shard) for shard in (1, 2)]
        assert {run.id for run in again} == {run.id for run in before.values()}

    async def test_a_shard_that_another_run_has_is_run_once(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(60), batch_id, workers=1)
        parameters = (await pool.runs(batch_id))[1].parameters
        first: State[Any] = await generate_shard(**parameters, return_state=True)
        second: State[Any] = await generate_shard(**parameters, return_state=True)
        assert (first.message, second.message) == ("60 of 60 stored", "it has settled")
        assert_paid_once(keys, once(foxes(60)))


class TestLimits:
    async def test_max_credits_holds_over_all_shards(
        self, pool: Pool, keys: RunningSandbox, prefect_server: str, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(150), batch_id, workers=3, max_credits=402)
        states = await pool.work(batch_id)
        assert all(states[shard].is_failed() for shard in (2, 3)), states
        assert spent(keys) == 400
        told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 3)
        assert {event["event"] for event in told} >= {"imagine.batch.stopped", "imagine.budget.exceeded"}
        assert (await pool.hand_over(foxes(150), batch_id, max_credits=750)).name == "Submitted"
        await pool.work(batch_id)
        assert_paid_once(keys, once(foxes(150)))

    async def test_a_limit_that_is_set_stops_them_and_is_divided_anew(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(150), batch_id, workers=3)
        await pool.work(batch_id, 1)
        write_command(pool.store, batch_id, Command(kind="set", max_credits=300))
        await pool.work(batch_id, 2, 3)
        assert spent(keys) == 250, "what others have spent is not known"
        await pool.hand_over(foxes(150), batch_id, workers=3)
        await pool.work(batch_id)
        assert spent(keys) == 300

    async def test_cancelled_it_creates_nothing_more(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        write_command(pool.store, batch_id, Command(kind="cancel", by="ada"))
        states = await pool.work(batch_id)
        assert {state.name for state in states.values()} == {"Cancelled"}
        assert not keys.books.accepted
        assert read_submission(pool.store, batch_id) is None

    async def test_cancelled_while_it_is_handed_over_it_creates_nothing(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        asked = {"approve_above": 0, "approval_minutes": 10}
        handing = asyncio.create_task(pool.hand_over(foxes(100), batch_id, parameters=asked))
        await run_named(f"generate {batch_id}", "Paused")
        await pool.close()  # from now on no run of a shard can be started
        await answered(f"generate {batch_id}", {"approve": True})
        await until(partial(_handed_over, pool, batch_id), "the batch to be handed over")
        handing.cancel()
        await asyncio.gather(handing, return_exceptions=True)
        generation = pool.dispatch(batch_id).generation
        state = await generate_shard(batch_id, 1, generation, str(pool.root), return_state=True)
        assert state.is_cancelled()
        assert not keys.books.accepted


async def _handed_over(pool: Pool, batch_id: str) -> bool:
    return read_dispatch(pool.store, batch_id) is not None


class TestWhatIsWrong:
    async def test_a_pool_that_is_not_there(
        self, keys: RunningSandbox, prefect_server: str, tmp_path: Path
    ) -> None:
        state = await Pool("nowhere", tmp_path).hand_over(foxes(2), "foxes")
        assert state.is_failed()
        assert "there is no work pool 'nowhere'" in (state.message or "")
        assert not [*Pool("nowhere", tmp_path).store.list("")]

    async def test_a_pool_that_no_deployment_serves(
        self, keys: RunningSandbox, prefect_server: str, tmp_path: Path
    ) -> None:
        name = f"bare-{uuid4().hex[:8]}"
        await made_work_pool(name)
        state = await Pool(name, tmp_path).hand_over(foxes(2), "foxes")
        assert f"`prefect deploy --name generate-shard --pool {name}` makes one" in (state.message or "")

    async def test_a_block_without_a_name(self, pool: Pool, batch_id: str) -> None:
        block = AIVisualStudioCredentials(api_key=SecretStr("secret-key"))
        parameters = {"credentials": {"aivisualstudio": block}}
        state = await pool.hand_over(foxes(2), batch_id, parameters=parameters)
        assert state.is_failed()
        assert "credentials of aivisualstudio: save the block" in (state.message or "")

    async def test_a_worker_without_a_key_ends_the_shard(
        self, pool: Pool, keys: RunningSandbox, batch_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await pool.hand_over(foxes(60), batch_id, workers=1)
        for name in keys.environment:
            if "PASSWORD" in name:
                monkeypatch.delenv(name)
        state = (await pool.work(batch_id))[1]
        assert state.is_failed()
        assert "0 of 60 stored, 60 planned: shard 1: " in (state.message or "")
