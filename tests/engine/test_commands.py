"""What people want of a run while it lasts: obeyed in place, by the next run, and after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.control.commands import Command, commands_since, write_command
from prefect_imagine.batches.control.wanted import RetryOf, Wanted
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.billing.budgets.budget import Budget, set_budget
from prefect_imagine.clock import utc_now
from prefect_imagine.engine import maintenance
from prefect_imagine.engine.collecting.going_on import batches_to_go_on
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.engine.session import Session
from prefect_imagine.errors import FencedError
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import TIMING, Runs, numbered
from tests.engine.waiting import until

SLOW = RateLimit(10, 1.0)
FAST = RateLimit()


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    sandbox.configure(rate_limits={"imaginelab": SLOW, "aivisualstudio": SLOW})
    return Runs(sandbox, open_store(str(tmp_path / "root")))


def give(runs: Runs, kind: Any, **more: Any) -> int:
    return write_command(runs.store, "batch", Command(kind=kind, by="ann", why="a reason", **more))


def accepted(runs: Runs, provider: str = "imaginelab") -> int:
    return runs.sandbox.books.accepted[provider]


@asynccontextmanager
async def running(runs: Runs, rows: Any, **options: Any) -> AsyncIterator[tuple[Session, asyncio.Task[None]]]:
    """A run that has begun to create; it is not waited for if a test has failed."""
    async with runs.session(rows, **options) as session:
        task = asyncio.create_task(run_session(session))
        try:
            await until(lambda: sum(runs.sandbox.books.accepted.values()) >= 3)
            yield session, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def obeyed(runs: Runs, number: int) -> None:
    await until(lambda: number in read_journal(runs.store, "batch").state.obeyed, every=0.1)


async def test_a_run_that_is_paused_creates_nothing_until_it_is_resumed(runs: Runs) -> None:
    rows = numbered("imaginelab", 40)
    async with running(runs, rows) as (session, task):
        await obeyed(runs, give(runs, "pause"))
        before = accepted(runs)
        runs.sandbox.configure(rate_limits={"imaginelab": FAST})
        polls = runs.sandbox.report(jobs=False)["requests"]["imaginelab"]
        await until(
            lambda: (
                runs.sandbox.report(jobs=False)["requests"]["imaginelab"] != polls
                or not session.books.counts.under_way
            )
        )
        await until(lambda: session.books.counts.stored == accepted(runs))
        assert accepted(runs) <= before + 1
        assert [each.why for each in session.desk.pauses.values()] == ["a reason"]
        give(runs, "resume")
        await task
        summary, _ = await session.close_books()
    assert summary.exit_code == 0
    runs.check()
    told = read_journal(runs.store, "batch").state.obeyed
    assert [each.what for each in told.values()] == ["pause", "resume"]
    assert "from ann on" in told[1].given
    assert told[1].given.endswith(": a reason")


async def test_one_provider_is_paused_and_the_other_goes_on(runs: Runs) -> None:
    runs.sandbox.configure(rate_limits={"aivisualstudio": FAST})
    rows = [*numbered("imaginelab", 30), *numbered("aivisualstudio", 20)]
    async with running(runs, rows) as (session, task):
        await obeyed(runs, give(runs, "pause", providers=("imaginelab",)))
        before = accepted(runs)
        await until(lambda: accepted(runs, "aivisualstudio") == 20)
        assert accepted(runs) <= before + 1
        give(runs, "resume", providers=("imaginelab",))
        await task
        assert (await session.close_books())[0].exit_code == 0
    runs.check()


async def test_a_pause_outlives_the_run(runs: Runs) -> None:
    rows = numbered("imaginelab", 8)
    await runs.run(rows, max_credits=10)
    give(runs, "pause")
    async with runs.session(rows) as session:
        task = asyncio.create_task(run_session(session))
        done, _ = await asyncio.wait([task], timeout=2.0)
        assert not done
        assert accepted(runs) == 2
        give(runs, "resume")
        await task
        assert (await session.close_books())[0].exit_code == 0
    runs.check()


async def test_a_limit_is_changed_in_place_and_stays(runs: Runs) -> None:
    rows = numbered("imaginelab", 90)
    async with running(runs, rows, max_credits=440) as (session, task):
        await obeyed(runs, give(runs, "set", max_credits=300))
        await task
        summary, _ = await session.close_books()
    assert (summary.exit_code, summary.credits.charged) == (3, 300)
    same = await runs.run(rows, max_credits=440)
    assert (same.summary.exit_code, same.summary.credits.charged) == (3, 300), "it may have been killed"
    none = await runs.run(rows)
    assert none.summary.credits.charged == 300, "no limit is none that replaces it"
    other = await runs.run(rows, max_credits=310)
    assert other.summary.credits.charged == 310, "a person wants another one"
    again = await runs.run(rows, max_credits=310)
    assert again.summary.credits.charged == 310


async def test_limits_of_one_provider_are_changed(runs: Runs) -> None:
    rows = [*numbered("imaginelab", 90), *numbered("aivisualstudio", 5)]
    async with running(runs, rows) as (session, task):
        await obeyed(runs, give(runs, "set", max_credits=300, providers=("imaginelab",)))
        await task
        summary, usage = await session.close_books()
    assert summary.exit_code == 3
    charged = {line.name: line.charged for line in usage.by_provider}
    assert charged == {"imaginelab": 300, "aivisualstudio": 25}


async def test_a_rate_is_changed_in_place(runs: Runs) -> None:
    runs.sandbox.configure(rate_limits={"imaginelab": FAST})
    rows = numbered("imaginelab", 12)
    async with running(runs, rows, rates={"imaginelab": "2/1s"}) as (session, task):
        pacer = session.clients["imaginelab"].pacer
        assert pacer.seconds_per_request >= 0.5
        await obeyed(runs, give(runs, "set", rates={"imaginelab": "100/1s"}))
        assert pacer.seconds_per_request < 0.02
        await task
        assert (await session.close_books())[0].exit_code == 0
    runs.check()


async def test_an_item_is_created_again_in_place(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", "imaginelab", match="picture 0", times=1))
    rows = numbered("imaginelab", 30)
    async with running(runs, rows) as (session, task):
        await until(lambda: session.books.counts.failed == 1)
        failed = session.books.failures[0][0].index
        await obeyed(runs, give(runs, "retry", items=(failed, 3)))
        await task
        summary, _ = await session.close_books()
    assert (summary.exit_code, summary.items.stored) == (0, 30)
    assert runs.accepted("imaginelab")["imaginelab picture 0"] == 2
    assert accepted(runs) == 31, "what has not failed is not created again"


async def test_an_item_is_created_again_by_the_next_run_and_once(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", "imaginelab", match="picture 1", times=2))
    runs.sandbox.faults.add(FaultRule("job_fails", "imaginelab", match="picture 2", times=1))
    rows = numbered("imaginelab", 4)
    assert (await runs.run(rows)).summary.items.failed == 2
    give(runs, "retry", items=(2,))
    again = await runs.run(rows)
    assert (again.summary.items.failed, again.summary.requests.create) == (2, 1)
    assert (await runs.run(rows)).summary.requests.create == 0, "it was obeyed"
    give(runs, "retry", items=(2,))
    assert (await runs.run()).summary.items.stored == 3


async def test_who_cancels_is_told(runs: Runs) -> None:
    async with running(runs, numbered("imaginelab", 30)) as (session, task):
        await maintenance.cancel(runs.store, "batch", Command(kind="cancel", by="ann", why="wrong file"))
        with pytest.raises(Exception, match="taken over"):
            await task
        ended = await session.close_cancelled_books()
    assert ended is not None
    assert "cancelled from ann on" in str(ended[0].error)
    assert "wrong file" in str(ended[0].error)


def test_what_commands_add_up_to() -> None:
    given = [
        Command(kind="pause"),
        Command(kind="resume", providers=("p",)),
        Command(kind="set", max_credits=5, rates={"p": "1/1s"}),
        Command(kind="set", max_credits=7, providers=("q",)),
        Command(kind="retry", items=(1, 2)),
        Command(kind="retry", items=(2,)),
    ]
    wanted = Wanted(dict(enumerate(given, 1)))
    assert (wanted.pause_of("p"), wanted.pause_of("q")) == (None, given[0])
    assert wanted.max_credits(0) == (5, {"q": 7})
    assert wanted.max_credits(3) == (None, {"q": 7})
    assert (wanted.rates(0), wanted.rates(3)) == ({"p": "1/1s"}, {})
    assert wanted.again() == {1: RetryOf(5), 2: RetryOf(6)}


def test_commands_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = write_command(store, "b", Command(kind="pause"))
    store.put(
        f"b/control/{first + 1:08d}.json", b'{"kind": "dance", "at": "2030-01-01T00:00:00Z", "host": "h"}'
    )
    store.put(
        f"b/control/{first + 2:08d}.json", b'{"kind": "cancel", "at": "2020-01-01T00:00:00Z", "host": "h"}'
    )
    assert [(number, each.kind) for number, each in commands_since(store, "b", 0)] == [
        (1, "pause"),
        (3, "cancel"),
    ]


async def test_a_retry_is_obeyed_once_whoever_creates_the_item_again_after_it(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails"))
    rows = numbered("imaginelab", 1)
    await runs.run(rows)
    give(runs, "retry", items=(1,))
    await runs.run()
    assert accepted(runs) == 2
    await runs.run(retry_failed=True, asked_by="somebody")
    assert accepted(runs) == 3
    await runs.run()
    assert accepted(runs) == 3


async def test_a_retry_that_waits_creates_nothing_of_unknown_fate(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=1))
    await runs.run(numbered("imaginelab", 1))
    give(runs, "retry", items=(1,))
    runs.sandbox.configure(history_mode="missing")
    runs.sandbox.faults.add(FaultRule("cut_after", on="create", times=1))
    ended = await runs.run()
    assert ended.summary.items.unknown == 1
    before = accepted(runs)
    await runs.run()
    give(runs, "retry", items=(1,))
    await runs.run()
    assert accepted(runs) == before
    give(runs, "retry", items=(1,), recreate_unknown=True)
    await runs.run()
    assert accepted(runs) == before + 1


async def test_a_cancellation_while_a_run_begins_is_for_that_run(runs: Runs) -> None:
    rows = numbered("imaginelab", 3)
    await runs.run(rows, max_credits=0)
    options = BatchOptions(batch_id="batch", timing=TIMING)
    async with prepare_batch(runs.store, "batch", None, runs.accounts, options) as prepared:
        give(runs, "cancel")
        with pytest.raises(FencedError, match="has been cancelled"):
            async with open_session(prepared, runs.store, options, pauses=runs.pauses):
                raise AssertionError("it must not begin")
    assert accepted(runs) == 0
    assert (await runs.run()).summary.items.stored == 3


async def test_whoever_waited_for_a_run_knows_what_was_commanded_meanwhile(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", match="picture 0"))
    rows = numbered("imaginelab", 6)
    await runs.run(rows, max_credits=10)
    assert accepted(runs) == 2

    async def second() -> None:
        async with runs.session(wait=True) as session:
            task = asyncio.create_task(run_session(session))
            await asyncio.wait([task], timeout=2.0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async with runs.session(create=True) as first:
        waiting = asyncio.create_task(second())
        give(runs, "retry", items=(1,))
        await first.desk.look()
        await first.create("imaginelab", [1])
        await until(lambda: accepted(runs) == 3)
        give(runs, "pause")
        await first.desk.look()
    await waiting
    assert accepted(runs) == 3


async def test_a_limit_that_was_set_holds_for_what_a_batch_gains(runs: Runs) -> None:
    await runs.run(numbered("imaginelab", 2))
    give(runs, "set", max_credits=10)
    ended = await runs.run(numbered("imaginelab", 4))
    assert (ended.summary.stopped_by, accepted(runs)) == (("budget",), 2)
    more = await runs.run(numbered("imaginelab", 4), max_credits=15)
    assert (more.summary.stopped_by, accepted(runs)) == (("budget",), 3)


async def test_nothing_goes_on_by_itself_that_is_paused(runs: Runs) -> None:
    budget = Budget(name="team", limits={"imaginelab": 10}, period="total", set_at=utc_now())
    set_budget(runs.store, budget)
    await runs.run(numbered("imaginelab", 4))
    give(runs, "pause")
    set_budget(runs.store, budget.model_copy(update={"limits": {"imaginelab": 100}}))
    assert batches_to_go_on(runs.store, utc_now()) == {}
    assert await asyncio.wait_for(maintenance.go_on(runs.store, "batch", runs.accounts), 30) is None
    give(runs, "resume")
    assert list(batches_to_go_on(runs.store, utc_now())) == ["batch"]


async def test_a_limit_that_was_set_holds_when_a_new_shard_comes_first(runs: Runs) -> None:
    rows = numbered("imaginelab", 8)
    await runs.run(rows[:3], max_credits=500)
    give(runs, "set", max_credits=15)
    ended = await runs.run(rows, max_credits=500)
    assert (ended.summary.stopped_by, accepted(runs)) == (("budget",), 3)
    other = await runs.run(rows, max_credits=25)
    assert (other.summary.stopped_by, accepted(runs)) == (("budget",), 5)
