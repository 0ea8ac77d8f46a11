"""Fleets whose runs were lost, cancelled or deleted, and whose books nobody has closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Crashed, Running

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.fleet.dispatch import Dispatch, ShardEnd, put_end
from prefect_imagine.batches.lease import Lease
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.batches.submission import read_submission
from prefect_imagine.billing.budgets.budget import Budget, set_budget
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.fleet.closing import closing_fleet
from prefect_imagine.flows import reconcile_batches
from prefect_imagine.flows.mending import LOST_SECONDS, mend_fleet
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store
from tests.books import assert_paid_once, manifest
from tests.flows.fleets import Pool, batch_id, collected, foxes, once, pool, spent
from tests.flows.prefect_api import events_about

__all__ = ["batch_id", "pool"]

pytestmark = pytest.mark.long


class TestMending:
    async def test_a_run_that_nobody_has_started_is_started(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        """The run that handed the batch over was killed before it, and before it had left word at all."""
        await pool.hand_over(foxes(100), batch_id)
        async with get_client() as client:
            await client.delete_flow_run((await pool.runs(batch_id))[2].id)
        pool.store.delete(f"{batch_id}/fleet/00001/started")
        pool.store.delete(f"{batch_id}/submission.json")
        await pool.work(batch_id, 1)
        assert (await collected(pool)).is_completed()
        assert (await pool.work(batch_id, 2))[2].message == "100 of 100 stored"

    async def test_a_run_that_somebody_has_deleted_is_not_started_again(
        self, pool: Pool, keys: RunningSandbox, prefect_server: str, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        async with get_client() as client:
            await client.delete_flow_run((await pool.runs(batch_id))[2].id)
        await pool.work(batch_id, 1)
        await collected(pool)
        assert [*await pool.runs(batch_id)] == [1]
        closing = await collected(pool)
        assert closing.is_failed(), "nobody else tells of it"
        told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 2)
        assert told[-1]["event"] == "imagine.batch.stopped"
        assert told[-1]["payload"]["stopped_by"] == ["cancelled"]

    async def test_one_that_has_crashed_is_scheduled_again(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(60), batch_id, workers=1)
        run = (await pool.runs(batch_id))[1]
        async with get_client() as client:
            await client.set_flow_run_state(run.id, Crashed(), force=True)
        await collected(pool)
        assert ((await pool.runs(batch_id))[1].state_name) == "AwaitingRetry"

    async def test_one_whose_worker_is_gone_is_scheduled_again(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        async with get_client() as client:
            for run in (await pool.runs(batch_id)).values():
                await client.set_flow_run_state(run.id, Running(), force=True)
        store, dispatch = pool.store, pool.dispatch(batch_id)
        await mend_fleet(store, dispatch)
        assert {run.state_name for run in (await pool.runs(batch_id)).values()} == {"Running"}
        blocking = Blocking(patience=5.0)
        second = Lease(store, blocking, shard_path(batch_id, 2), ProcessIdentity.me())
        await second.take(wait=False)
        await mend_fleet(store, dispatch, lambda: utc_now() + timedelta(seconds=LOST_SECONDS))
        await second.release()
        blocking.close()
        found = await pool.runs(batch_id)
        assert {shard: run.state_name for shard, run in found.items()} == {1: "AwaitingRetry", 2: "Running"}

    async def test_one_that_a_person_has_cancelled_is_given_up_and_the_books_are_closed(
        self, pool: Pool, keys: RunningSandbox, prefect_server: str, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        async with get_client() as client:
            await client.set_flow_run_state((await pool.runs(batch_id))[2].id, Cancelled(), force=True)
        await pool.work(batch_id, 1)
        await collected(pool)
        await collected(pool)
        told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 2)
        assert told[-1]["event"] == "imagine.batch.stopped"
        assert told[-1]["payload"]["items"]["stored"] == 50
        assert len(manifest(pool.store, batch_id)) == 100

    async def test_books_that_the_last_one_did_not_close_are_closed(
        self, pool: Pool, keys: RunningSandbox, prefect_server: str, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(100), batch_id)
        await pool.work(batch_id, 1)
        dispatch = pool.dispatch(batch_id)
        put_end(pool.store, dispatch, 2, ShardEnd(at=utc_now()))
        with pytest.raises(InterruptedError):
            await _die_while_closing(pool.store, dispatch)
        state = await collected(pool)
        assert state.is_completed(), state
        told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 2)
        assert told[-1]["event"] == "imagine.batch.finished"
        assert told[-1]["payload"]["items"]["stored"] == 50
        async with closing_fleet(pool.store, dispatch) as closed:
            assert closed is None, "they are closed"

    async def test_while_somebody_closes_them_nobody_else_does(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        await pool.hand_over(foxes(60), batch_id, workers=1)
        dispatch = pool.dispatch(batch_id)
        put_end(pool.store, dispatch, 1, ShardEnd(at=utc_now()))
        async with closing_fleet(pool.store, dispatch) as closed:
            assert closed is not None
            async with closing_fleet(pool.store, dispatch) as second:
                assert second is None
            assert (await collected(pool)).message == "1 unsettled batches"
            assert read_submission(pool.store, batch_id) is not None

    async def test_what_a_budget_had_stopped_is_handed_over_again(
        self, pool: Pool, keys: RunningSandbox, batch_id: str
    ) -> None:
        def limit(credits: int) -> None:
            team = Budget(name="team", limits={"imaginelab": credits}, period="total", set_at=utc_now())
            set_budget(pool.store, team)

        limit(400)
        await pool.hand_over(foxes(100), batch_id)
        states = await pool.work(batch_id, 1)
        waits: State[Any] = await reconcile_batches(str(pool.root), return_state=True)
        assert waits.is_completed()
        assert pool.dispatch(batch_id).generation == 1, "a fleet has it"
        states |= await pool.work(batch_id, 2)
        assert spent(keys) == 400, states
        limit(500)
        gone_on: State[Any] = await reconcile_batches(str(pool.root), return_state=True)
        assert gone_on.message == "0 unsettled batches, and 1 that a budget had stopped"
        assert [*pool.dispatch(batch_id).shards] == [2]
        await pool.work(batch_id)
        assert_paid_once(keys, once(foxes(100)))


async def _die_while_closing(store: Store, dispatch: Dispatch) -> None:
    async with closing_fleet(store, dispatch) as closed:
        assert closed is not None
        raise InterruptedError("it dies before it has announced the end")
