"""A batch of many shards, run a few at a time by one process."""

from __future__ import annotations

import asyncio

import pytest

from prefect_imagine.batches.index import read_index
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.billing.root import books_of
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.maintenance import cancel, reconcile
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.engine.shards.feed import MAX_OPEN
from prefect_imagine.errors import BatchBusyError, FencedError
from prefect_imagine.reports.overview import Follower
from prefect_imagine.reports.position import position_of
from prefect_imagine.sandbox import FaultRule
from prefect_imagine.stores import Store
from tests.books import assert_stored_exactly, manifest
from tests.engine.engine_runs import Runs, numbered
from tests.engine.waiting import until

MIXED = [*numbered("imaginelab", 9), *numbered("blockadelabs", 7), *numbered("aivisualstudio", 8)]


def settled_shards(store: Store) -> int:
    return sum(isinstance(each, Settlement) for each in books_of(store, "batch"))


async def test_all_shards_of_a_batch_are_one_batch(runs: Runs) -> None:
    ended = await runs.run(MIXED, shard_size=5)
    assert (ended.summary.exit_code, ended.summary.items.stored) == (0, 24)
    assert list(shard_numbers(runs.store, "batch")) == [1, 2, 3, 4, 5]
    assert settled_shards(runs.store) == 5
    assert read_index(runs.store).active == frozenset()
    lines = manifest(runs.store, "batch")
    assert [line["index"] for line in lines] == list(range(1, 25))
    assert [line["request"]["prompt"] for line in lines] == [row["prompt"] for row in MIXED]
    assert_stored_exactly(runs.store, "batch", runs.sandbox)
    runs.check()
    again = await runs.run(MIXED, shard_size=5)
    assert again.summary.requests.model_dump() == dict.fromkeys(again.summary.requests.model_dump(), 0)
    assert again.summary.items == ended.summary.items


async def test_few_shards_are_open_at_once_and_settled_ones_are_left(runs: Runs) -> None:
    seen: list[tuple[int, int]] = []
    async with runs.session(numbered("imaginelab", 40), shard_size=2) as session:
        running = asyncio.ensure_future(run_session(session))
        while not running.done():
            seen.append((len(session.shards), settled_shards(runs.store)))
            await asyncio.sleep(0.01)
        await running
        assert max(count for count, _ in seen) <= MAX_OPEN
        assert max(settled for _, settled in seen) >= 20 - MAX_OPEN
        kept = {index for run in session.runs.values() for index in run.jobs.may_be_unknown}
        assert not kept
        witnesses = len(session.runs)
        assert sum(len(run.jobs.owned) for run in session.runs.values()) <= 2 * MAX_OPEN + witnesses
        await session.close_books()
    runs.check()


async def test_a_provider_that_is_slow_keeps_nobody_else_from_coming_to_an_end(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (0.1, 0.1), "video": (3.0, 3.0)})
    videos = [{"provider": "aivisualstudio", "prompt": f"film {n}", "kind": "video"} for n in range(2)]
    ended = await runs.run([*videos, *numbered("imaginelab", 18)], shard_size=2)
    assert ended.summary.exit_code == 0
    runs.check()


async def test_a_run_that_was_killed_goes_on_in_every_shard(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (0.4, 0.4)})
    async with runs.session(MIXED, shard_size=4) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: len(runs.sandbox.report()["jobs"]) >= 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(list(shard_numbers(runs.store, "batch"))) == 6
    ended = await runs.run(MIXED, shard_size=4)
    assert (ended.summary.exit_code, ended.summary.items.stored) == (0, 24)
    runs.check()


async def test_a_budget_holds_over_all_shards(runs: Runs) -> None:
    rows = numbered("imaginelab", 12)
    first = await runs.run(rows, shard_size=3, max_credits=25)
    assert (first.summary.exit_code, first.summary.items.planned) == (3, 7)
    assert first.summary.credits.charged == 25
    second = await runs.run(rows, max_credits=40)
    assert (second.summary.items.planned, second.summary.credits.charged) == (4, 40)
    await runs.run(rows)
    runs.check()


async def test_who_runs_one_shard_runs_the_batch(runs: Runs) -> None:
    rows = numbered("imaginelab", 6)
    async with runs.session(rows, shard_size=2):
        with pytest.raises(BatchBusyError):
            await runs.run(rows)
    assert (await runs.run(rows)).summary.items.stored == 6
    runs.check()


async def test_a_cancelled_batch_is_fenced_off_in_all_its_shards(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (30.0, 30.0)})
    async with runs.session(numbered("imaginelab", 8), shard_size=2) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: len(runs.sandbox.report()["jobs"]) == 8)
        summary, _ = await cancel(runs.store, "batch")
        assert summary.items.under_way == 8
        runs.sandbox.configure(latency={"image": (0.1, 0.1)})
        runs.sandbox.advance(60)
        with pytest.raises(FencedError):
            await running
        ended = await session.close_cancelled_books()
        assert ended is not None
        assert ended[0].stopped_by == (StopReason.CANCELLED.value,)
    await runs.run(None)
    runs.check()


async def test_what_failed_in_a_settled_shard_is_created_again_when_asked_for(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=2))
    rows = numbered("aivisualstudio", 6)
    first = await runs.run(rows, shard_size=2)
    assert (first.summary.items.failed, settled_shards(runs.store)) == (2, 3)
    again = await runs.run(rows, retry_failed=True)
    assert (again.summary.items.stored, again.summary.requests.create) == (6, 2)
    assert settled_shards(runs.store) == 3
    assert again.usage.charged == runs.sandbox.report(jobs=False)["charged"]["aivisualstudio"]


async def test_shards_that_stopped_halfway_are_looked_at_again(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (60.0, 60.0)})
    async with runs.session(numbered("imaginelab", 6), shard_size=2) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: session.progress().running == 6)
        session.stop(StopReason.TERMINATED, "told to")
        await running
        await session.close_books()
    runs.sandbox.advance(120)
    summary, _ = await reconcile(runs.store, "batch", runs.accounts)
    assert (summary.items.stored, summary.requests.create) == (6, 0)
    runs.check()


async def test_a_batch_is_watched_over_all_its_shards(runs: Runs) -> None:
    follower = Follower(runs.store, "batch")
    async with runs.session(numbered("imaginelab", 6), shard_size=2) as session:
        seen = follower.look()
        assert (seen.counts.total, seen.counts.planned) == (6, 6)
        assert seen.runners
        await run_session(session)
        assert follower.look().counts.stored == 6
        await session.close_books()
    assert follower.look().counts.stored == 6
    assert follower.position().bill.counts == position_of(runs.store, "batch").bill.counts


async def test_a_shard_is_opened_where_nothing_of_the_earlier_ones_is_left(runs: Runs) -> None:
    rows = numbered("imaginelab", 6)
    await runs.run(rows[:2])
    segments = read_journal(runs.store, "batch").seq
    await runs.run(rows)
    assert read_journal(runs.store, "batch").seq == segments, "a settled shard is left alone"
    further = read_plan(runs.store, "batch", 2)
    assert further is not None
    assert list(further.indices) == [3, 4, 5, 6]
    assert read_journal(runs.store, shard_path("batch", 2)).seq > 0
    runs.check()
