"""A prompts file says what shall exist: the same batch id with other rows makes just what is new."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.records import Restored, Withdrawn
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.billing.root import books_of
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import PreparedBatch, prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import AmendedMeanwhileError, BatchBusyError, ConfigurationError
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.providers.spec import Account
from prefect_imagine.sandbox import FaultRule
from prefect_imagine.stores import Store
from tests.batches.journals import AT
from tests.books import manifest
from tests.engine.engine_runs import TIMING, Row, Runs, numbered, rows_of


def states(store: Store) -> dict[int, ItemState]:
    shards = shard_numbers(store, "batch")
    journals = [read_journal(store, shard_path("batch", shard)).state.items for shard in shards]
    return {index: state for items in journals for index, state in items.items()}


def outputs(store: Store) -> dict[str, str]:
    lines = manifest(store, "batch")
    return {each["key"]: each["sha256"] for line in lines for each in line["outputs"]}


async def test_three_rows_more_cost_three_generations(runs: Runs) -> None:
    rows = numbered("imaginelab", 5)
    first = await runs.run(rows)
    made = outputs(runs.store)
    more = rows_of("imaginelab", "new a", "new b") + rows_of("aivisualstudio", "new c")
    second = await runs.run([more[0], *reversed(rows), *more[1:]])
    assert (first.summary.requests.create, second.summary.requests.create) == (5, 3)
    assert (second.summary.exit_code, second.summary.items.stored) == (0, 8)
    assert made.items() <= outputs(runs.store).items()
    lines = manifest(runs.store, "batch")
    assert [line["index"] for line in lines] == list(range(1, 9))
    assert [line["request"]["prompt"] for line in lines[5:]] == ["new a", "new b", "new c"]
    runs.check()


async def test_a_row_that_stands_there_once_more_is_one_more_item(runs: Runs) -> None:
    rows = rows_of("imaginelab", "a", "a", "b")
    await runs.run(rows)
    assert (await runs.run([*rows, rows[0]])).summary.requests.create == 1
    assert runs.accepted("imaginelab") == {"a": 3, "b": 1}


async def test_what_is_gone_before_it_was_created_is_withdrawn_and_comes_back(runs: Runs) -> None:
    rows = numbered("imaginelab", 6)
    stopped = await runs.run(rows, max_credits=10, shard_size=2)
    assert stopped.summary.items.planned == 4
    fewer = await runs.run(rows[:1], max_credits=10)
    assert (fewer.summary.items.withdrawn, fewer.summary.items.planned) == (4, 0)
    assert (fewer.summary.exit_code, fewer.summary.items.stored) == (0, 2)
    assert fewer.usage.withdrawn == 4
    assert Counter(line["status"] for line in manifest(runs.store, "batch")) == {"stored": 2, "withdrawn": 4}
    assert all(isinstance(each, Settlement) for each in books_of(runs.store, "batch"))
    again = await runs.run(rows[:4])
    assert (again.summary.requests.create, again.summary.items.withdrawn) == (2, 2)
    await runs.run(rows)
    runs.check()


async def test_withdrawing_alone_asks_no_provider_and_needs_no_key(runs: Runs) -> None:
    rows = numbered("imaginelab", 3)
    await runs.run(rows, max_credits=5)
    asked: list[str] = []

    async def no_key(providers: Sequence[str]) -> Mapping[str, Account]:
        asked.extend(providers)
        return {}

    runs.accounts = no_key  # type: ignore[method-assign]
    ended = await runs.run(rows[:1])
    assert (ended.summary.items.withdrawn, ended.summary.exit_code, asked) == (2, 0, [])


async def test_what_failed_and_is_gone_is_not_tried_again(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=2))
    rows = rows_of("aivisualstudio", "a", "b")
    failed = await runs.run(rows)
    assert (failed.summary.items.failed, failed.summary.exit_code) == (2, 1)
    ended = await runs.run([*rows[:1], *rows_of("aivisualstudio", "c")], retry_failed=True)
    assert runs.accepted("aivisualstudio") == {"a": 2, "b": 1, "c": 1}
    assert (ended.summary.items.withdrawn, ended.summary.items.stored) == (1, 2)
    assert ended.usage.charged == runs.sandbox.report(jobs=False)["charged"]["aivisualstudio"]
    back = await runs.run(rows)
    assert (back.summary.items.failed, back.summary.requests.create) == (1, 0)
    assert (await runs.run(rows, retry_failed=True)).summary.items.failed == 0


async def test_a_create_that_is_open_is_not_withdrawn_unless_it_was_not_accepted(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("cut_after", on="create", match="a", times=1))
    runs.sandbox.faults.add(FaultRule("cut_before", on="create", match="b", times=1))
    rows = rows_of("imaginelab", "a", "b")
    async with runs.session(rows) as session:
        running = asyncio.ensure_future(run_session(session))
        run = session.runs["imaginelab"]
        await run.wake_up.wait_for(lambda: len(run.queues.open) == 2, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert {state.phase for state in states(runs.store).values()} == {Phase.OPEN}
    ended = await runs.run(rows_of("imaginelab", "c"))
    accepted = runs.accepted("imaginelab")
    assert (accepted["c"], len(accepted)) == (1, 2)
    assert (ended.summary.items.stored, ended.summary.items.withdrawn) == (2, 1)
    assert ended.usage.charged == runs.sandbox.report(jobs=False)["charged"]["imaginelab"]


def prepared(
    runs: Runs, rows: list[Row], source: str | None = None, *, amend: bool = True, **more: Any
) -> AbstractAsyncContextManager[PreparedBatch]:
    options = BatchOptions(batch_id="batch", timing=TIMING, **more)
    asked = ask(list(enumerate(rows, 1)), Defaults(), {})
    return prepare_batch(runs.store, "batch", asked, runs.accounts, options, source=source, amend=amend)


async def test_of_two_that_amend_at_once_one_plans_and_the_other_finds_it(runs: Runs) -> None:
    rows = rows_of("blockadelabs", "a", "b")
    await runs.run(rows[:1])
    options = BatchOptions(batch_id="batch", timing=TIMING)

    async def amend(opened: PreparedBatch) -> None:
        await persist_plan(runs.store, opened)
        async with open_session(opened, runs.store, options, pauses=runs.pauses) as session:
            await run_session(session)
            await session.close_books()

    async with prepared(runs, rows) as one, prepared(runs, rows) as two:
        ended = await asyncio.gather(amend(one), amend(two), return_exceptions=True)
    assert [type(each) for each in ended if each is not None] in ([], [BatchBusyError])
    assert list(shard_numbers(runs.store, "batch")) == [1, 2]
    await runs.run(rows)
    runs.check()


async def test_two_that_amend_at_once_otherwise_make_no_half_of_each(runs: Runs) -> None:
    await runs.run(rows_of("imaginelab", "a"))
    async with (
        prepared(runs, rows_of("imaginelab", "a", "b")) as one,
        prepared(runs, rows_of("imaginelab", "a", "c")) as two,
    ):
        await persist_plan(runs.store, one)
        with pytest.raises(AmendedMeanwhileError, match="has just been amended with other prompts"):
            await persist_plan(runs.store, two)


async def test_a_batch_that_is_being_run_is_not_amended(runs: Runs) -> None:
    rows = numbered("imaginelab", 2)
    async with runs.session(rows):
        with pytest.raises(BatchBusyError):
            await runs.run(numbered("imaginelab", 3))
        assert list(shard_numbers(runs.store, "batch")) == [1]
    await runs.run(numbered("imaginelab", 3))
    runs.check()


async def test_a_frozen_batch_takes_no_other_rows(runs: Runs) -> None:
    rows = numbered("imaginelab", 3)
    await runs.run(rows, max_credits=5)
    for other in (rows[:2], [*rows, *rows[:1]], rows_of("imaginelab", "x")):
        with pytest.raises(ConfigurationError, match="exists with other prompts"):
            await runs.run(other, frozen=True)
    assert (await runs.run(list(reversed(rows)), frozen=True)).summary.items.stored == 3


async def test_a_batch_of_another_file_is_amended_only_when_asked_for(runs: Runs) -> None:
    async with prepared(runs, numbered("imaginelab", 3), "/one/prompts.csv") as made:
        await persist_plan(runs.store, made)
    grown = numbered("imaginelab", 4)
    with pytest.raises(ConfigurationError, match=r"was made from /one/prompts.csv and lacks 1 of these"):
        async with prepared(runs, grown, "/two/prompts.csv", amend=False):
            pytest.fail("it was compared")
    async with prepared(runs, grown[:2], "/two/prompts.csv", amend=False) as opened:
        assert (opened.difference.kept, opened.difference.withdrawn) == (2, frozenset())
    async with prepared(runs, grown[:2], "/one/prompts.csv", amend=False) as opened:
        assert opened.difference.withdrawn == {3}
    async with prepared(runs, grown, "/two/prompts.csv") as opened:
        assert len(opened.difference.new) == 1


async def test_a_batch_of_the_first_edition_is_amended(runs: Runs) -> None:
    rows = numbered("imaginelab", 2)
    await runs.run(rows, max_credits=5)
    for key in ("batch/batch.json", "batch/settled.json"):
        runs.store.delete(key)
    ended = await runs.run([*rows[:1], *rows_of("imaginelab", "new")])
    assert (ended.summary.items.stored, ended.summary.items.withdrawn) == (2, 1)
    assert runs.accepted("imaginelab") == {"imaginelab picture 0": 1, "new": 1}


async def test_a_budget_counts_what_earlier_shards_have_cost(runs: Runs) -> None:
    rows = numbered("imaginelab", 4)
    await runs.run(rows[:3])
    ended = await runs.run(rows, max_credits=19)
    assert (ended.summary.exit_code, ended.summary.items.planned) == (3, 1)
    assert ended.summary.requests.create == 0


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.FAILED])
def test_a_restored_item_stands_where_it_stood_when_it_was_withdrawn(phase: Phase) -> None:
    state = BatchState({1: ItemState(phase=phase, reason="moderation")})
    for record in (Withdrawn(item=1, at=AT), Withdrawn(item=1, at=AT), Restored(item=1, at=AT)):
        state.apply(record)
    assert state[1] == ItemState(phase=phase, reason="moderation")
