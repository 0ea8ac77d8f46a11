"""What an approval covers: the items that it was given for, none of them twice, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.approvals import Approval, Changes, is_kept, keep_approval, read_approval
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.approved import approval_of, changed, is_approved, is_part_of
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import PreparedBatch, prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.sandbox import FaultRule
from prefect_imagine.stores import Store, open_store
from tests.engine.engine_runs import TIMING, Row, Runs, numbered, rows_of

LAB, STUDIO = "imaginelab", "aivisualstudio"
ROWS = numbered(LAB, 4)


def _options(**more: Any) -> BatchOptions:
    return BatchOptions.model_validate({"batch_id": "batch", "timing": TIMING, **more})


@asynccontextmanager
async def _prepared(
    runs: Runs, rows: Sequence[Row] | None, without: Sequence[str] = (), **more: Any
) -> AsyncIterator[PreparedBatch]:
    asked = None if rows is None else ask(list(enumerate(rows, 1)), Defaults(), {})
    prepared_of = prepare_batch(runs.store, "batch", asked, runs.accounts, _options(**more), without=without)
    async with prepared_of as prepared:
        yield prepared


async def _given(
    runs: Runs, rows: Sequence[Row] | None, asked_by: str = "", *, planned: bool = False, **more: Any
) -> Approval:
    """A yes to what these rows ask for, of which the plan has been written or not."""
    async with _prepared(runs, rows, **more) as prepared:
        given = approval_of(prepared, _options(**more), asked_by)
    return given.model_copy(update={"step": "planned"}) if planned else given


async def _covers(
    approval: Approval, runs: Runs, rows: Sequence[Row] | None, asked_by: str = "", **more: Any
) -> bool:
    async with _prepared(runs, rows, approval.changes.without, **more) as prepared:
        return is_approved(prepared, _options(**more), asked_by, approval)


async def _approved_and_planned(runs: Runs, rows: Sequence[Row], *, stops_at: int, **more: Any) -> Approval:
    """A yes to a new batch, whose run was stopped after so many credits."""
    async with _prepared(runs, rows, **more) as prepared:
        given = approval_of(prepared, _options(**more), "")
        await persist_plan(runs.store, prepared)
    await runs.run(rows, max_credits=stops_at, **more)
    return given.model_copy(update={"step": "planned"})


async def test_the_same_estimate_is_covered_before_and_while_it_is_created(runs: Runs) -> None:
    given = await _given(runs, ROWS, shard_size=3)
    assert [(each.number, each.items) for each in given.shards] == [(1, ((1, 3, 0),)), (2, ((4, 4, 0),))]
    assert await _covers(given, runs, ROWS, shard_size=3)
    assert not await _covers(given, runs, ROWS, shard_size=2)
    begun = await _approved_and_planned(runs, ROWS, stops_at=10, shard_size=3)
    assert await _covers(begun, runs, ROWS)
    assert await _covers(begun, runs, None)
    await runs.run(ROWS)
    assert await _covers(begun, runs, ROWS), "nothing is left to be created"


async def test_a_row_more_is_not_covered_however_little_is_left(runs: Runs) -> None:
    begun = await _approved_and_planned(runs, ROWS, stops_at=15)
    assert await _covers(begun, runs, ROWS)
    assert not await _covers(begun, runs, [*ROWS, *rows_of(LAB, "another")])
    assert await _covers(begun, runs, ROWS[1:])


async def test_what_was_paid_for_is_not_covered_once_more(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=1))
    begun = await _approved_and_planned(runs, ROWS, stops_at=15)
    assert await _covers(begun, runs, ROWS)
    assert not await _covers(begun, runs, ROWS, retry_failed=True)
    again = await _given(runs, ROWS, "one", planned=True, retry_failed=True)
    assert await _covers(again, runs, ROWS, retry_failed=True)


async def test_what_failed_again_is_covered_only_for_the_run_that_leaves_it_at_that(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=2, match="picture 0"))
    await runs.run(ROWS)
    again = await _given(runs, ROWS, "one", planned=True, retry_failed=True)
    async with runs.session(ROWS, retry_failed=True, asked_by="one") as session:
        await run_session(session)
        await session.close_books()
    assert await _covers(again, runs, ROWS, "one", retry_failed=True)
    assert not await _covers(again, runs, ROWS, "another", retry_failed=True)


async def test_a_batch_that_was_deleted_and_made_again_is_not_covered(runs: Runs) -> None:
    begun = await _approved_and_planned(runs, ROWS, stops_at=10)
    _delete(runs.store)
    assert not await _covers(begun, runs, ROWS), "it was planned before"
    await runs.run(ROWS, max_credits=10)
    assert not await _covers(begun, runs, ROWS), "it was planned at another time"


def _delete(store: Store) -> None:
    for found in list(store.list("")):
        store.delete(found.key)


async def test_another_price_or_a_looser_limit_is_not_covered(runs: Runs) -> None:
    priced: dict[str, Any] = {
        "prices": {LAB: {"default": 5}},
        "max_credits": 12,
        "max_credits_by_provider": {LAB: 11},
    }
    given = await _given(runs, ROWS, **priced)
    assert await _covers(given, runs, ROWS, **priced)
    assert await _covers(given, runs, ROWS, **{**priced, "max_credits": 11})
    assert not await _covers(given, runs, ROWS, **{**priced, "prices": {LAB: {"default": 6}}})
    for name, looser in (("max_credits", 13), ("max_credits", None), ("max_credits_by_provider", {})):
        assert not await _covers(given, runs, ROWS, **{**priced, name: looser}), name


async def test_what_was_left_out_is_not_covered_when_it_comes_back(runs: Runs) -> None:
    rows = [*ROWS, *rows_of(STUDIO, "a", "b")]
    shown = await _given(runs, rows)
    async with _prepared(runs, rows, [STUDIO]) as prepared:
        assert is_part_of(prepared, shown, "")
        given = approval_of(prepared, _options(), "", Changes(without=(STUDIO,)))
    assert [(line.provider, line.items, line.credits) for line in given.lines] == [(LAB, 4, 20)]
    assert await _covers(given, runs, rows)
    assert not await _covers(given.model_copy(update={"changes": Changes()}), runs, rows)
    more = [*rows, *rows_of(LAB, "one more")]
    async with _prepared(runs, more, [STUDIO]) as prepared:
        assert not is_part_of(prepared, shown, "")


async def test_a_batch_that_somebody_has_planned_meanwhile_is_no_part_of_what_was_shown(runs: Runs) -> None:
    shown = await _given(runs, ROWS)
    await runs.run(ROWS, max_credits=0)
    async with _prepared(runs, ROWS) as prepared:
        assert not is_part_of(prepared, shown, "")


@pytest.mark.parametrize(
    ("told", "wanted", "limit"), [(None, None, None), (None, 5, 5), (20, 5, 5), (20, 30, 20), (20, None, 20)]
)
def test_a_limit_is_only_lowered(told: int | None, wanted: int | None, limit: int | None) -> None:
    options = changed(_options(max_credits=told), Changes(max_credits=wanted))
    assert options == _options(max_credits=limit)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of either kind."""
    where = str(tmp_path / "place")
    if request.param == "bucket":
        where = f"s3://{request.getfixturevalue('aws').make_bucket()}/prefix"
    with closing(open_store(where)) as found:
        yield found


def test_the_last_approval_holds_until_it_has_ended(place: Store) -> None:
    assert read_approval(place, "batch") is None
    first = Approval(at=utc_now(), changes=Changes(max_credits=0.5, without=(LAB,)), max_credits=1)
    second = first.model_copy(update={"at": first.at + timedelta(seconds=1), "step": "planned"})
    for each in (first, second):
        keep_approval(place, "batch", each)
        assert read_approval(place, "batch") == each
    keep_approval(place, "batch", second.model_copy(update={"step": "ended"}))
    assert read_approval(place, "batch") is None
    assert len(list(place.list("batch/approvals/"))) == 3
    keep_approval(place, "batch", first)
    assert read_approval(place, "batch") == first
    assert not is_kept(place, "batch", "an answer")
    keep_approval(place, "batch", first.model_copy(update={"answer": "an answer"}))
    assert is_kept(place, "batch", "an answer")
    place.put("batch/approvals/00000006.json", b'{"format": 2}')
    assert read_approval(place, "batch") is None
    assert is_kept(place, "batch", "another"), "who knows what it holds"
