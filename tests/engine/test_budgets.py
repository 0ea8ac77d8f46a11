"""Budgets of a root over whole batches: what all spend together, when, and who gets what is left."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.stops import StopReason
from prefect_imagine.billing.budgets.amounts import SPENT
from prefect_imagine.billing.budgets.budget import Budget, read_budgets, remove_budget, set_budget
from prefect_imagine.billing.budgets.counting import count_and_set
from prefect_imagine.billing.budgets.holdings import Holdings, shard_of
from prefect_imagine.billing.budgets.sequence import read_holdings, write_holdings
from prefect_imagine.billing.budgets.standing import read_standings
from prefect_imagine.billing.budgets.thresholds import ThresholdReached
from prefect_imagine.engine import maintenance
from prefect_imagine.engine.collecting.collect import collect
from prefect_imagine.engine.collecting.going_on import batches_to_go_on
from prefect_imagine.engine.collecting.survey import Scope
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import TIMING, Runs, numbered, rows_of
from tests.engine.waiting import until

PRICE = 5
"""Of a picture of ImagineLab's in the sandbox."""
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    sandbox.configure(rate_limits={"imaginelab": RateLimit(), "aivisualstudio": RateLimit()})
    return Runs(sandbox, open_store(str(tmp_path / "root")))


def limited(runs: Runs, credits: float, **more: Any) -> Budget:
    """Set a budget."""
    wanted = {"name": "team", "limits": {"imaginelab": credits}, "period": "total", "set_at": NOON, **more}
    budget = Budget.model_validate(wanted)
    set_budget(runs.store, budget)
    return budget


def counted(runs: Runs, credits: int, spent: int, **more: Any) -> None:
    """Set a budget as people do, of which so much is spent by then."""
    wanted = {"name": "team", "limits": {"imaginelab": credits}, "period": "total", "set_at": NOON, **more}
    budget = Budget.model_validate(wanted)
    found = count_and_set(
        runs.store, budget, datetime.now(UTC), lambda: set_budget(runs.store, budget), _not_unreadable
    )
    assert found.of("imaginelab", *SPENT) == spent


def _not_unreadable(batch_id: str, error: StoreError) -> None:
    raise error


def held(runs: Runs, period: str = "total", name: str = "team") -> Holdings:
    [budget] = [each for each in read_budgets(runs.store) if each.name == name]
    return read_holdings(runs.store, budget.key, period)


def spent(runs: Runs, period: str = "total", name: str = "team") -> int:
    """What a budget says; nothing may be left set aside."""
    holdings = held(runs, period, name)
    assert holdings.of("imaginelab", "reserved") == 0
    assert not any(each.active for each in holdings.holders.values())
    return int(holdings.of("imaginelab", *SPENT))


def charged(runs: Runs) -> int:
    """What the provider's books say."""
    return int(runs.sandbox.report(jobs=False)["charged"]["imaginelab"])


async def test_two_batches_at_once_share_what_there_is(runs: Runs) -> None:
    limited(runs, 52)
    rows = [rows_of("imaginelab", *(f"{batch} {number}" for number in range(8))) for batch in "ab"]
    ended = await asyncio.gather(runs.run(rows[0], batch="a"), runs.run(rows[1], batch="b"))
    assert 3 in {each.summary.exit_code for each in ended}
    assert (spent(runs), charged(runs)) == (50, 50)
    for each in ended:
        if each.summary.exit_code == 3:
            assert each.summary.stopped_by == ("budget",)
            assert "budget 'team' (total)" in str(each.summary.error)


async def test_it_can_be_raised_and_the_batch_goes_on(runs: Runs) -> None:
    limited(runs, 12)
    rows = numbered("imaginelab", 5)
    assert (await runs.run(rows)).summary.items.stored == 2
    again = await runs.run(rows)
    assert (again.summary.exit_code, again.summary.requests.create) == (3, 0)
    limited(runs, 25)
    assert (await runs.run(rows)).summary.exit_code == 0
    assert spent(runs) == 25
    runs.check()


async def test_reconciling_goes_on_once_there_is_enough(runs: Runs) -> None:
    limited(runs, 12)
    await runs.run(numbered("imaginelab", 5), prices={"imaginelab": {"default": 5}})
    assert await maintenance.go_on(runs.store, "batch", runs.accounts) is None
    assert batches_to_go_on(runs.store, NOON) == {}
    limited(runs, 18)
    assert list(batches_to_go_on(runs.store, NOON)) == ["batch"]
    gone_on = await maintenance.go_on(runs.store, "batch", runs.accounts)
    assert gone_on is not None
    assert (gone_on[0].exit_code, gone_on[0].items.stored) == (3, 3)
    assert gone_on[0].waits_for is not None
    assert remove_budget(runs.store, "team")
    gone_on = await maintenance.go_on(runs.store, "batch", runs.accounts)
    assert gone_on is not None
    assert gone_on[0].exit_code == 0
    assert await maintenance.go_on(runs.store, "batch", runs.accounts) is None
    runs.check()


async def test_a_new_day_has_a_budget_of_its_own(runs: Runs) -> None:
    limited(runs, 10, period="day", time_zone="Asia/Tokyo")
    rows = numbered("imaginelab", 5)
    runs.now = lambda: NOON
    first = await runs.run(rows)
    assert (first.summary.exit_code, first.summary.items.stored) == (3, 2)
    assert "2026-11-10 15:00 UTC" in str(first.summary.error), "midnight in Tokyo"
    runs.now = lambda: NOON + timedelta(hours=3)
    assert (await runs.run(rows)).summary.items.stored == 4
    assert [spent(runs, f"2026-11-{day}") for day in (10, 11)] == [10, 10]


async def test_what_is_created_again_later_counts_when_it_was(runs: Runs) -> None:
    limited(runs, 100, period="day")
    runs.sandbox.faults.add(FaultRule("job_fails", "imaginelab", times=2))
    rows = numbered("imaginelab", 4)
    runs.now = lambda: NOON
    failed = (await runs.run(rows)).summary
    assert failed.items.failed == 2
    runs.now = lambda: NOON + timedelta(days=1)
    assert (await runs.run(rows, retry_failed=True)).summary.exit_code == 0
    first, second = spent(runs, "2026-11-10"), spent(runs, "2026-11-11")
    assert first + second == charged(runs)
    assert second == 2 * PRICE


async def test_items_of_a_label_alone_are_counted(runs: Runs) -> None:
    limited(runs, 10, labels={"client": "acme"})
    theirs = rows_of("imaginelab", "a", "b", "c", labels={"client": "acme"})
    others = rows_of("imaginelab", "d", "e", "f", labels={"client": "other"})
    assert (await runs.run(others, batch="others")).summary.exit_code == 0
    ended = await runs.run(theirs, batch="theirs")
    assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 2)
    assert spent(runs) == 10


async def test_what_a_budget_does_not_count_is_created_though_it_is_used_up(runs: Runs) -> None:
    limited(runs, 12, labels={"client": "acme"})
    rows = [
        *rows_of("imaginelab", *(f"theirs {number}" for number in range(30)), labels={"client": "acme"}),
        *rows_of("imaginelab", *(f"ours {number}" for number in range(30)), labels={"client": "other"}),
    ]
    first = await runs.run(rows, shard_size=10)
    assert (first.summary.exit_code, first.summary.stopped_by) == (3, ("budget",))
    assert first.summary.items.stored == 2 + 30
    assert first.summary.waits_for is not None
    assert first.summary.waits_for.budget == "team"
    assert spent(runs) == 10
    limited(runs, 1000, labels={"client": "acme"})
    assert list(batches_to_go_on(runs.store, NOON)) == ["batch"]
    assert (await runs.run(rows)).summary.exit_code == 0
    runs.check()


async def test_a_used_up_budget_is_not_asked_for_each_item_that_it_counts(runs: Runs) -> None:
    limited(runs, 10, labels={"client": "acme"})
    theirs = rows_of("imaginelab", *(f"theirs {number}" for number in range(200)), labels={"client": "acme"})
    ended = await runs.run([*theirs, *rows_of("imaginelab", "ours")], shard_size=20)
    assert ended.summary.items.stored == 3
    assert held(runs).seq < 40
    assert runs.creates()["imaginelab"] == 3


async def test_each_provider_has_a_limit_of_its_own(runs: Runs) -> None:
    limited(runs, 0)
    ended = await runs.run([*numbered("imaginelab", 2), *numbered("aivisualstudio", 2)])
    assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 2)
    assert charged(runs) == 0


async def test_unknown_fates_count_as_spent(runs: Runs) -> None:
    limited(runs, 20)
    runs.sandbox.faults.add(FaultRule("cut_after", "imaginelab", "create", times=1))
    impatient = TIMING.model_copy(update={"patience": 1.0})
    async with runs.session(numbered("imaginelab", 6), timing=impatient) as session:
        runs.sandbox.faults.add(FaultRule("error_before", "imaginelab", "list"))
        await run_session(session)
        summary, _ = await session.close_books()
    assert (summary.exit_code, summary.credits.possible) == (5, PRICE)
    assert charged(runs) <= 20
    [line] = read_standings(runs.store, NOON)
    assert line.charged + line.possible <= 20


async def test_without_a_price_nothing_is_created(runs: Runs) -> None:
    limited(runs, 100, limits={"blockadelabs": 5})
    with pytest.raises(
        ConfigurationError, match="budget 'team' cannot be kept: blockadelabs tells no prices"
    ):
        await runs.run(numbered("blockadelabs", 1))
    prices = {"blockadelabs": {"default": 2}}
    ended = await runs.run(numbered("blockadelabs", 4), prices=prices)
    assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 2)


def _key(runs: Runs) -> str:
    [budget] = read_budgets(runs.store)
    return budget.key


def left_behind(runs: Runs, reserved: int, batch: str = "batch") -> None:
    """Let a shard hold so much more, as if whoever ran it had been killed before it was used."""
    known = held(runs)
    [name] = [name for name in known.holders if shard_of(name) == batch]
    dead = known.holders[name].model_copy(
        update={"active": True, "reserved": {"imaginelab": Decimal(reserved)}}
    )
    assert write_holdings(runs.store, _key(runs), "total", known, known.with_holders({name: dead}), NOON)


async def test_what_a_dead_process_held_comes_back_with_its_batch(runs: Runs) -> None:
    limited(runs, 40)
    rows = numbered("imaginelab", 6)
    await runs.run(rows, max_credits=10)
    left_behind(runs, 30)
    assert (await runs.run(rows)).summary.exit_code == 0
    others = rows_of("imaginelab", *(f"other {number}" for number in range(4)))
    assert (await runs.run(others, batch="others")).summary.items.stored == 2
    assert spent(runs) == 40


@pytest.mark.parametrize("how", ["reconcile", "collect", "resume"])
async def test_what_nobody_will_use_is_given_back(runs: Runs, how: str) -> None:
    limited(runs, 40)
    rows = numbered("imaginelab", 2)
    await runs.run(rows)
    left_behind(runs, 30)
    match how:
        case "reconcile":
            await maintenance.reconcile(runs.store, "batch", runs.accounts)
        case "collect":
            await collect(runs.store, runs.accounts, Scope(days=14, unknown=True))
        case "resume":
            assert (await runs.run()).summary.exit_code == 0
    assert spent(runs) == 10


async def test_a_batch_made_again_under_a_deleted_one_s_name_counts_beside_it(runs: Runs) -> None:
    limited(runs, 15)
    await runs.run(numbered("imaginelab", 2))
    for found in list(runs.store.list("batch/")):
        runs.store.delete(found.key)
    ended = await runs.run(rows_of("imaginelab", "x", "y", "z"))
    assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 1)
    assert spent(runs) == 15


async def test_one_that_is_set_later_counts_what_was_spent(runs: Runs) -> None:
    labelled = [{**row, "labels": {"client": "acme"}} for row in numbered("imaginelab", 3)]
    await runs.run(labelled, batch="before")
    await runs.run(numbered("imaginelab", 2), batch="others", max_credits=5)
    for more, expected in (({}, 20), ({"labels": {"client": "acme"}}, 15), ({"period": "day"}, 20)):
        counted(runs, 25, expected, name=f"b{expected}{len(more)}", **more)
    ended = await runs.run(rows_of("imaginelab", "x", "y", "z"), batch="after")
    assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 1)


async def test_one_that_is_set_while_a_batch_runs_is_obeyed(runs: Runs) -> None:
    runs.sandbox.configure(rate_limits={"imaginelab": RateLimit(20, 1.0)})
    rows = numbered("imaginelab", 400)
    async with runs.session(rows) as session:
        running = asyncio.create_task(run_session(session))
        await until(lambda: charged(runs) >= 20 * PRICE)
        limited(runs, 40 * PRICE)
        await session.budgets.look()
        already = charged(runs)
        await running
        summary, _ = await session.close_books()
    assert summary.exit_code == 3
    assert charged(runs) <= max(40 * PRICE, already + 16 * PRICE)
    assert spent(runs) == charged(runs)


async def test_what_was_spent_while_there_was_none_counts_when_it_is_set_again(runs: Runs) -> None:
    counted(runs, 15, 0)
    rows = numbered("imaginelab", 8)
    assert (await runs.run(rows)).summary.items.stored == 3
    assert remove_budget(runs.store, "team")
    assert (await runs.run(rows)).summary.exit_code == 0
    counted(runs, 50, 40)
    ended = await runs.run(rows_of("imaginelab", "x", "y", "z"), batch="after")
    assert (ended.summary.exit_code, charged(runs)) == (3, 50)


async def test_one_that_counts_otherwise_begins_from_the_books(runs: Runs) -> None:
    counted(runs, 50, 0, labels={"client": "acme"})
    mine = [{**row, "labels": {"client": "acme"}} for row in numbered("imaginelab", 3)]
    await runs.run([*mine, *rows_of("imaginelab", "x", "y")])
    counted(runs, 30, 25)
    ended = await runs.run(rows_of("imaginelab", "p", "q", "r"), batch="after")
    assert (ended.summary.exit_code, charged(runs)) == (3, 30)


async def test_a_batch_that_cannot_be_read_is_told_and_the_others_count(runs: Runs) -> None:
    for batch in ("a", "b", "c"):
        await runs.run(rows_of("imaginelab", f"{batch} 1", f"{batch} 2"), batch=batch)
    runs.store.put("b/plan.jsonl", b"garbage")
    unreadable: list[str] = []
    budget = limited(runs, 100)
    found = count_and_set(
        runs.store, budget, datetime.now(UTC), lambda: None, lambda batch, error: unreadable.append(batch)
    )
    assert (int(found.of("imaginelab")), unreadable) == (20, ["b"])


async def test_a_batch_that_ends_soon_after_one_is_set_is_counted_whole(runs: Runs) -> None:
    async with runs.session(numbered("imaginelab", 12)) as session:
        running = asyncio.create_task(run_session(session))
        await until(lambda: charged(runs) >= 10)
        counted_so_far = limited(runs, 500)
        await running
        await session.close_books()
    assert counted_so_far.name == "team"
    assert spent(runs) == charged(runs) == 60


async def test_others_that_are_set_and_removed_change_nothing(runs: Runs) -> None:
    """A run keeps one account of each budget, whatever becomes of others while it waits for credits."""
    runs.sandbox.configure(rate_limits={"imaginelab": RateLimit(40, 1.0)})
    limited(runs, 300)
    other = Budget(name="other", limits={"imaginelab": 10**6}, period="total", set_at=NOON)
    batches = {name: rows_of("imaginelab", *(f"{name} {n}" for n in range(40))) for name in "abc"}
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(runs.session(rows, batch=name)) for name, rows in batches.items()
        ]
        running = [asyncio.create_task(run_session(each)) for each in sessions]
        while not all(task.done() for task in running):
            set_budget(runs.store, other)
            await asyncio.gather(*(each.budgets.look() for each in sessions))
            await asyncio.sleep(0.02)
            remove_budget(runs.store, "other")
            await asyncio.gather(*(each.budgets.look() for each in sessions))
            await asyncio.sleep(0.02)
        await asyncio.gather(*running)
        for each in sessions:
            await each.close_books()
    assert spent(runs) == charged(runs) == 300


async def test_a_run_that_creates_no_more_gives_back_what_it_holds(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (3600.0, 3600.0)}, rate_limits={"imaginelab": RateLimit()})
    limited(runs, 200)
    async with runs.session(numbered("imaginelab", 30), max_credits=40) as session:
        running = asyncio.create_task(run_session(session))
        await until(lambda: session.was_stopped(StopReason.BUDGET))
        await until(lambda: held(runs).of("imaginelab") == 40, every=0.2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_batch_that_lets_its_jobs_go_waits_for_its_budget_too(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (3600.0, 3600.0)})
    limited(runs, 20)
    assert (await runs.run(numbered("imaginelab", 8), detach=True)).summary.exit_code == 3
    limited(runs, 100)
    assert list(batches_to_go_on(runs.store, NOON)) == ["batch"]


async def test_a_batch_that_was_cancelled_waits_for_nothing(runs: Runs) -> None:
    limited(runs, 10)
    await runs.run(numbered("imaginelab", 4))
    await maintenance.cancel(runs.store, "batch")
    limited(runs, 100)
    assert batches_to_go_on(runs.store, NOON) == {}
    assert await maintenance.go_on(runs.store, "batch", runs.accounts) is None


async def test_fractions_are_no_obstacle(runs: Runs) -> None:
    limited(runs, 0.95, limits={"imagineapi": 0.95})
    prices = {"imagineapi": {"default": 0.1}}
    ended = await runs.run(numbered("imagineapi", 10), prices=prices)
    assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 9)
    limited(runs, 1, limits={"imagineapi": 1})
    gone_on = await maintenance.go_on(runs.store, "batch", runs.accounts)
    assert gone_on is not None
    assert gone_on[0].items.stored == 10


async def test_few_objects_are_written_however_many_creates_there_are(runs: Runs) -> None:
    limited(runs, 10_000)
    assert (await runs.run(numbered("imaginelab", 120))).summary.exit_code == 0
    assert spent(runs) == 600
    assert held(runs).seq <= 20


async def test_thresholds_are_announced_once_each(runs: Runs) -> None:
    limited(runs, 50)
    told: list[ThresholdReached] = []
    for number in range(3):
        rows = rows_of("imaginelab", *(f"{number} {place}" for place in range(4)))
        async with runs.session(rows, batch=f"b{number}") as session:
            session.budgets.announce_by(told.append)
            await run_session(session)
            await session.close_books()
    assert sorted({each.percent for each in told}) == [50, 80, 95, 100]
    assert held(runs).warned == {"imaginelab": 100}
