"""Providers that a run leaves out: nothing is created there, and nothing that was created is touched."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.state import Phase
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.providers.spec import Account
from prefect_imagine.reports.summary import Summary
from prefect_imagine.sandbox import FaultRule
from tests.engine.engine_runs import TIMING, Row, Runs, numbered, rows_of
from tests.engine.test_desired_state import states

LAB, STUDIO = "imaginelab", "aivisualstudio"
ROWS = [*numbered(LAB, 3), *numbered(STUDIO, 2)]


async def _without(
    runs: Runs, rows: Sequence[Row] | None, *providers: str, keep: bool = False, **more: object
) -> Summary:
    """A run that leaves providers out, as far as it goes."""
    options = BatchOptions.model_validate({"batch_id": "batch", "timing": TIMING, **more})
    asked = None if rows is None else ask(list(enumerate(rows, 1)), Defaults(), {})
    prepared_of = prepare_batch(
        runs.store, "batch", asked, runs.accounts, options, without=providers, keep=keep
    )
    async with prepared_of as prepared:
        await persist_plan(runs.store, prepared)
        async with open_session(prepared, runs.store, options, pauses=runs.pauses) as session:
            await run_session(session)
            summary, _ = await session.close_books()
    return summary


async def test_what_is_new_there_is_not_planned_and_comes_with_a_later_run(runs: Runs) -> None:
    first = await _without(runs, ROWS, STUDIO)
    assert (first.items.total, first.items.stored, first.exit_code) == (3, 3, 0)
    assert runs.creates()[STUDIO] == 0
    second = await runs.run(ROWS)
    assert (second.summary.requests.create, second.summary.items.stored) == (2, 5)
    runs.check()


@pytest.mark.parametrize("rows", [ROWS, None], ids=["asked", "resumed"])
async def test_what_is_planned_there_is_withdrawn_and_comes_back(
    runs: Runs, rows: Sequence[Row] | None
) -> None:
    await runs.run(ROWS, max_credits=0)
    first = await _without(runs, rows, STUDIO)
    assert (first.items.stored, first.items.withdrawn, first.items.planned) == (3, 2, 0)
    assert (runs.creates()[STUDIO], first.exit_code) == (0, 0)
    again = await runs.run(ROWS)
    assert (again.summary.items.stored, again.summary.items.withdrawn) == (5, 0)
    runs.check()


async def test_a_batch_that_keeps_what_it_began_with_and_a_frozen_one_leave_out_too(runs: Runs) -> None:
    await runs.run(ROWS, max_credits=0)
    kept = await _without(runs, numbered(LAB, 9), STUDIO, keep=True, max_credits=5)
    assert (kept.items.withdrawn, kept.items.stored, kept.items.total) == (2, 1, 5)
    frozen = await _without(runs, ROWS, STUDIO, frozen=True)
    assert (frozen.items.withdrawn, frozen.items.stored, runs.creates()[STUDIO]) == (2, 3, 0)


async def test_what_is_under_way_there_is_followed_and_stored(runs: Runs) -> None:
    async with runs.session(ROWS) as session:
        running = asyncio.ensure_future(run_session(session))
        run = session.runs[STUDIO]
        await run.wake_up.wait_for(lambda: len(run.queues.running) == 2, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    ended = await _without(runs, ROWS, STUDIO)
    assert (ended.items.stored, ended.items.withdrawn) == (5, 0)
    runs.check()


async def test_an_open_create_there_is_adopted_or_withdrawn_and_never_sent_again(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("cut_after", on="create", match="a", times=1))
    runs.sandbox.faults.add(FaultRule("cut_before", on="create", match="b", times=1))
    rows = rows_of(LAB, "a", "b")
    async with runs.session(rows) as session:
        running = asyncio.ensure_future(run_session(session))
        run = session.runs[LAB]
        await run.wake_up.wait_for(lambda: len(run.queues.open) == 2, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    ended = await _without(runs, [*rows, *rows_of(STUDIO, "c")], LAB)
    assert Counter(state.phase for state in states(runs.store).values()) == {
        Phase.STORED: 2,
        Phase.WITHDRAWN: 1,
    }
    assert (runs.accepted(LAB), runs.accepted(STUDIO), ended.exit_code) == ({"a": 1}, {"c": 1}, 0)


async def test_what_has_failed_there_stays_failed(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=2, provider=STUDIO))
    await runs.run(ROWS)
    ended = await _without(runs, ROWS, STUDIO, retry_failed=True)
    assert (ended.items.failed, ended.items.withdrawn, ended.items.stored) == (2, 0, 3)
    assert sum(runs.accepted(STUDIO).values()) == 2


async def test_no_key_of_theirs_is_needed(runs: Runs) -> None:
    asked: list[str] = []
    accounts = runs.accounts

    async def find(providers: Sequence[str]) -> Mapping[str, Account]:
        asked.extend(providers)
        return await accounts(providers)

    runs.accounts = find  # type: ignore[method-assign]
    await _without(runs, ROWS, STUDIO)
    assert asked == [LAB]


async def test_nothing_falls_back_to_one_that_is_left_out(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("refused", provider=LAB))
    asked: list[str] = []
    accounts = runs.accounts

    async def find(providers: Sequence[str]) -> Mapping[str, Account]:
        asked.extend(providers)
        return await accounts(providers)

    rows = [{**row, "on_refusal": f"fallback: [{STUDIO}]"} for row in numbered(LAB, 2)]
    await runs.run(rows[:1], max_credits=0)  # planned with its fallback
    runs.accounts = find  # type: ignore[method-assign]
    ended = await _without(runs, rows, STUDIO)
    assert (ended.items.failed, runs.creates()[STUDIO]) == (2, 0)
    assert asked == [LAB]
