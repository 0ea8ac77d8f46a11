"""Runs that let their jobs go, and what takes these in: one look per account over all batches of a root."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import SecretStr

from prefect_imagine.batches.inbox import Delivery, put_delivery
from prefect_imagine.batches.index import ensure_index, read_index
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.submission import read_submission
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.collect import Collected, collect
from prefect_imagine.engine.collecting.survey import Scope
from prefect_imagine.engine.maintenance import reconcile
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.spec import Account
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.stores import Store
from tests.engine.engine_runs import TIMING, Runs, numbered
from tests.engine.test_root_index import settled_batch, stock_taken
from tests.engine.test_shard_faults import watched
from tests.engine.waiting import until

DAYS = 1.0
LONG = {"image": (600.0, 600.0), "video": (600.0, 600.0)}


@pytest.fixture
def runs(sandbox: RunningSandbox, store: Store) -> Runs:
    """Jobs of ten minutes of the sandbox's clock."""
    sandbox.configure(latency=LONG)
    return Runs(sandbox, store)


async def collected(runs: Runs, **scope: Any) -> dict[str, Collected]:
    found = await collect(runs.store, runs.accounts, Scope(**{"days": DAYS, "timing": TIMING, **scope}))
    return {each.batch_id: each for each in found}


def looks(runs: Runs) -> dict[str, int]:
    """How many reads of jobs each provider has been sent."""
    requests = runs.sandbox.report(jobs=False)["requests"]
    return {provider: sent["read"] + sent["list"] for provider, sent in requests.items()}


async def test_a_run_lets_its_jobs_go_once_all_are_created(runs: Runs) -> None:
    ended = await runs.run(numbered("aivisualstudio", 7), detach=True, shard_size=3, allowed_failures=2)
    assert (ended.summary.items.under_way, ended.summary.exit_code) == (7, 0)
    assert ended.summary.submitted
    submission = read_submission(runs.store, "batch")
    assert submission is not None
    assert (submission.allowed_failures, submission.timing) == (2, TIMING)
    assert runs.store.read("batch/report.html") is None
    assert runs.creates()["aivisualstudio"] == 7


async def test_lost_creates_are_found_before_the_jobs_are_let_go(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("cut_after", provider="imaginelab", on="create", times=2))
    runs.sandbox.faults.add(FaultRule("cut_before", provider="imaginelab", on="create", times=2))
    ended = await runs.run(numbered("imaginelab", 6), detach=True)
    assert ended.summary.items.under_way == 6
    runs.sandbox.advance(700)
    assert (await collected(runs))["batch"].finished
    runs.check()


async def test_what_has_ended_by_then_needs_no_collecting(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (0.0, 0.0)})
    runs.sandbox.faults.add(FaultRule("cut_after", provider="imaginelab", on="create", times=1))
    ended = await runs.run(numbered("imaginelab", 3), detach=True)
    assert ended.summary.items.under_way == 0 or ended.summary.submitted
    if not ended.summary.submitted:
        assert read_submission(runs.store, "batch") is None


async def test_all_batches_cost_one_look_per_account(runs: Runs) -> None:
    names = ("one", "two", "three")
    for name in names:
        rows = [*numbered("aivisualstudio", 4), *numbered("imagineapi", 3)]
        await runs.run(rows, batch=name, detach=True)
    before = looks(runs)
    assert {each.running for each in (await collected(runs)).values()} == {7}
    once = looks(runs)
    assert {name: once[name] - before[name] for name in ("aivisualstudio", "imagineapi")} == {
        "aivisualstudio": 1,
        "imagineapi": 1,
    }
    runs.sandbox.advance(700)
    found = await collected(runs)
    assert {name: bool(found[name].finished) for name in names} == dict.fromkeys(names, True)
    assert looks(runs)["aivisualstudio"] - once["aivisualstudio"] == 1
    assert all(read_submission(runs.store, name) is None for name in names)
    assert not read_index(runs.store).active
    assert await collected(runs) == {}
    runs.check()


async def test_settled_batches_are_neither_asked_for_nor_read(runs: Runs) -> None:
    ensure_index(runs.store)
    for number in range(300):
        settled_batch(runs.store, f"night-{number}")
        stock_taken(runs.store, f"night-{number}")
    for number in range(5):
        await runs.run(numbered("aivisualstudio", 2), batch=f"active-{number}", detach=True)
    read: list[str] = []
    before = looks(runs)["aivisualstudio"]
    found = await collect(watching(runs.store, read), runs.accounts, Scope(DAYS))
    assert sorted(each.batch_id for each in found) == [f"active-{number}" for number in range(5)]
    assert looks(runs)["aivisualstudio"] == before + 1
    assert not [key for key in read if key.startswith("night-")]


def watching(store: Store, read: list[str]) -> Store:
    """The same store, with a note of each key that is read or listed."""

    class Noting:
        def __getattr__(self, name: str) -> Any:
            wanted = getattr(store, name)
            if name not in ("read", "list", "head", "read_version", "folders"):
                return wanted

            def noted(key: str, *rest: Any, **more: Any) -> Any:
                read.append(key)
                return wanted(key, *rest, **more)

            return noted

    return cast(Store, Noting())


async def test_a_batch_that_is_run_is_left_alone(runs: Runs) -> None:
    async with runs.session(numbered("imaginelab", 3)) as session, asyncio.timeout(60):
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: session.progress().running == 3)
        found = await collected(runs)
        assert found["batch"].busy
        runs.sandbox.advance(700)
        await running
        await session.close_books()
    runs.check()


async def test_what_a_crashed_run_has_left_is_stored_too(runs: Runs) -> None:
    async with runs.session(numbered("imaginelab", 3)) as session, asyncio.timeout(60):
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: session.progress().running == 3)
        running.cancel()
    runs.sandbox.advance(700)
    found = (await collected(runs))["batch"]
    assert found.taken_in is not None
    assert found.taken_in.summary.items.stored == 3
    assert found.finished is None
    assert await collected(runs) == {}
    runs.check()


async def test_what_was_not_created_is_left_to_whoever_resumes(runs: Runs) -> None:
    ended = await runs.run(numbered("aivisualstudio", 3), detach=True, max_credits=12)
    assert (ended.summary.items.under_way, ended.summary.exit_code) == (2, 3)
    runs.sandbox.advance(700)
    found = (await collected(runs))["batch"]
    end = found.finished
    assert end is not None
    assert (end.summary.items.stored, end.summary.items.planned) == (2, 1)
    assert found.failed is False
    assert await collected(runs) == {}
    assert runs.creates()["aivisualstudio"] == 2
    runs.sandbox.configure(latency={"image": (0.1, 0.1)})
    assert (await runs.run(None)).summary.items.stored == 3
    runs.check()


async def test_more_failures_than_allowed_are_the_collectors_to_report(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", provider="imaginelab", times=2))
    for name, allowed in (("strict", 1), ("lenient", 2)):
        await runs.run(numbered("imaginelab", 4), batch=name, detach=True, allowed_failures=allowed)
        runs.sandbox.faults.clear()
        runs.sandbox.faults.add(FaultRule("job_fails", provider="imaginelab", times=2))
    runs.sandbox.advance(700)
    found = await collected(runs)
    assert {name: each.failed for name, each in found.items()} == {"strict": True, "lenient": False}


async def test_jobs_that_never_end_are_overdue_and_hold_no_books_open(runs: Runs) -> None:
    """Each kind by a deadline of its own; they are looked at all the same."""
    runs.sandbox.faults.add(FaultRule("job_hangs", provider="aivisualstudio", times=1))
    timing = TIMING.model_copy(update={"longest_by_kind": {GenerationKind.IMAGE: 0.001}})
    await runs.run(numbered("aivisualstudio", 3), detach=True, timing=timing)
    runs.sandbox.advance(700)
    found = (await collected(runs))["batch"]
    assert found.finished is not None
    items = found.finished.summary.items
    assert (items.stored, items.failed + items.under_way) == (2, 1)
    state = read_journal(runs.store, "batch").state
    late = [each for each in state.items.values() if each.reason == "timeout"]
    assert [each.phase for each in late] == [Phase.CREATED]
    assert (await collected(runs))["batch"].running == 1
    assert read_submission(runs.store, "batch") is None


@pytest.mark.parametrize("detach", [True, False], ids=["let go", "crashed"])
async def test_whoever_collects_can_say_when_jobs_are_overdue(runs: Runs, detach: bool) -> None:
    rows = numbered("aivisualstudio", 2)
    if detach:
        await runs.run(rows, detach=True)
    else:
        async with runs.session(rows) as session, asyncio.timeout(60):
            running = asyncio.ensure_future(run_session(session))
            await until(lambda: session.progress().running == 2)
            running.cancel()
    soon = TIMING.model_copy(update={"longest_by_kind": {GenerationKind.IMAGE: 0.001}})
    found = (await collected(runs, timing=soon))["batch"]
    assert found.taken_in is not None
    assert found.taken_in.closed
    assert runs.store.read("batch/report.html") is not None
    assert (await collected(runs, timing=soon))["batch"].taken_in is None
    runs.sandbox.advance(700)
    later = (await collected(runs))["batch"].taken_in
    assert later is not None
    assert later.summary.items.stored == 2
    runs.check()


async def test_jobs_of_another_account_are_told(runs: Runs) -> None:
    await runs.run(numbered("aivisualstudio", 2), detach=True)
    own = runs.accounts

    async def others(providers: Sequence[str]) -> Mapping[str, Account]:
        found = await own(providers)
        return {name: replace(each, key=SecretStr("avs_live_sandbox-other")) for name, each in found.items()}

    [found] = await collect(runs.store, others, Scope(DAYS, timing=TIMING))
    assert (found.running, found.unseen) == (2, 2)
    assert (await collected(runs))["batch"].unseen == 0


async def test_one_account_that_cannot_be_asked_hinders_no_other(runs: Runs) -> None:
    await runs.run(numbered("aivisualstudio", 2), batch="one", detach=True)
    await runs.run(numbered("imaginelab", 2), batch="two", detach=True)
    runs.sandbox.advance(700)
    runs.sandbox.faults.add(FaultRule("error_before", provider="imaginelab", on="any"))
    found = await collected(runs)
    assert found["one"].finished
    assert found["two"].problems
    runs.sandbox.faults.clear()
    assert (await collected(runs))["two"].finished
    runs.check()


async def test_a_detached_batch_can_be_gone_on_with(runs: Runs) -> None:
    await runs.run(numbered("imaginelab", 3), detach=True)
    runs.sandbox.advance(700)
    runs.sandbox.configure(latency={"image": (0.1, 0.1)})
    assert (await runs.run(numbered("imaginelab", 5))).summary.items.stored == 5
    assert read_submission(runs.store, "batch") is None
    runs.check()


async def test_what_is_delivered_is_not_asked_for(runs: Runs) -> None:
    await runs.run(numbered("aivisualstudio", 2), detach=True)
    runs.sandbox.advance(700)
    jobs = runs.sandbox.report()["jobs"]
    shown = await shown_records(runs, [str(job["id"]) for job in jobs])
    for job, record in shown.items():
        put_delivery(
            runs.store, "batch", Delivery(provider="aivisualstudio", job=job, at=utc_now(), record=record)
        )
    before = looks(runs)["aivisualstudio"]
    assert (await collected(runs))["batch"].finished
    assert looks(runs)["aivisualstudio"] == before
    assert list(runs.store.list(".imagine/inbox/")) == []
    runs.check()


async def shown_records(runs: Runs, jobs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The provider's own records."""
    from prefect_imagine.providers.registry import open_client

    client = open_client((await runs.accounts(["aivisualstudio"]))["aivisualstudio"])
    try:
        found = await client.poll(jobs)
    finally:
        await client.aclose()
    return {job: dict(row.raw) for job, row in found.items()}


@pytest.mark.parametrize("writes", range(1, 40, 4))
async def test_a_collector_that_dies_is_followed_by_another(runs: Runs, writes: int) -> None:
    await runs.run(numbered("imaginelab", 6), detach=True, shard_size=2)
    runs.sandbox.advance(700)
    left = iter(range(writes))

    def dies(key: str) -> None:
        if next(left, None) is None:
            raise StoreError("killed", retryable=False)

    with suppress(StoreError):
        await collect(watched(runs.store, dies), runs.accounts, Scope(DAYS, timing=TIMING))
    await collected(runs)
    assert read_submission(runs.store, "batch") is None
    runs.check()


async def test_reconcile_waits_for_what_runs(runs: Runs) -> None:
    await runs.run(numbered("imaginelab", 2), detach=True)
    reconciling = asyncio.ensure_future(reconcile(runs.store, "batch", runs.accounts))
    await asyncio.sleep(0.2)
    runs.sandbox.advance(700)
    summary, _ = await reconciling
    assert summary.items.stored == 2
    assert read_submission(runs.store, "batch") is None
    runs.check()


async def test_what_fails_meanwhile_is_left_for_its_next_provider_whose_key_is_not_needed(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", provider="imaginelab", times=1))
    rows = [{**row, "on_refusal": "fallback: [aivisualstudio]"} for row in numbered("imaginelab", 3)]
    await runs.run(rows, detach=True)
    runs.sandbox.advance(700)
    asked: list[str] = []

    async def find(providers: Sequence[str]) -> Mapping[str, Account]:
        asked.extend(providers)
        return await Runs.accounts(runs, providers)

    runs.accounts = find  # type: ignore[method-assign]
    await collected(runs)
    assert set(asked) == {"imaginelab"}
    state = read_journal(runs.store, "batch").state
    assert sorted(each.phase for each in state.items.values()) == [Phase.PLANNED, Phase.STORED, Phase.STORED]
    assert runs.creates()["aivisualstudio"] == 0
    runs.sandbox.configure(latency={"image": (0.1, 0.2)})
    ended = await runs.run()
    assert (ended.summary.items.stored, ended.summary.requests.create) == (3, 1)
