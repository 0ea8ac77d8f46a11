"""What is created in another way, where its provider refuses it or fails it, and what that costs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.billing.attempts import read_chronicle
from prefect_imagine.billing.budgets.amounts import SPENT
from prefect_imagine.billing.budgets.budget import Budget, set_budget
from prefect_imagine.billing.budgets.sequence import read_holdings
from prefect_imagine.billing.estimates import estimate_text
from prefect_imagine.billing.spending import read_ledger
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import ConfigurationError, InvalidPromptsError
from prefect_imagine.metrics.root import KnownRoot
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.books import manifest
from tests.engine.engine_runs import TIMING, Ended, Runs, numbered

LAB, STUDIO, SKY = "imaginelab", "aivisualstudio", "blockadelabs"


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    sandbox.configure(rate_limits=dict.fromkeys((LAB, STUDIO, SKY), RateLimit()))
    return Runs(sandbox, open_store(str(tmp_path / "root")))


def refuse(runs: Runs, provider: str = LAB, **more: Any) -> None:
    runs.sandbox.faults.add(FaultRule("refused", provider=provider, **more))


def fail(runs: Runs, provider: str = LAB, **more: Any) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", provider=provider, **more))


def charged(runs: Runs) -> dict[str, float]:
    found: dict[str, float] = runs.sandbox.report(jobs=False)["charged"]
    return {name: amount for name, amount in found.items() if amount}


def billed(ended: Ended) -> dict[str, float]:
    return {line.name: line.charged for line in ended.usage.by_provider if line.charged}


def exact(runs: Runs, ended: Ended) -> None:
    """The bill is the providers' own books, of each of them."""
    assert billed(ended) == charged(runs)
    counts = ended.summary.items
    assert counts.total == counts.stored + counts.failed + counts.planned + counts.unknown + counts.withdrawn


async def test_what_is_refused_is_created_elsewhere(runs: Runs) -> None:
    refuse(runs, times=2)
    rows = [{**row, "on_refusal": f"fallback: [{STUDIO}]"} for row in numbered(LAB, 5)]
    ended = await runs.run(rows)
    assert (ended.summary.exit_code, ended.summary.items.stored) == (0, 5)
    exact(runs, ended)
    lines = manifest(runs.store, "batch")
    moved = [line for line in lines if line["instead_of"]]
    assert [line["request"]["provider"] for line in moved] == [STUDIO, STUDIO]
    assert [each["reason"] for line in moved for each in line["instead_of"]] == ["refused", "refused"]
    assert runs.creates()[STUDIO] == 2


async def test_a_job_that_fails_is_asked_for_again_with_another_seed(runs: Runs) -> None:
    fail(runs, SKY, times=2)
    row = {"provider": SKY, "prompt": "a lake", "seed": 7, "on_refusal": "reseed: 3"}
    ended = await runs.run([row], prices={SKY: {"default": 1}})
    assert ended.summary.items.stored == 1
    [line] = manifest(runs.store, "batch")
    assert len(line["instead_of"]) == 2
    assert line["request"]["settings"]["seed"] != 7
    assert ended.usage.estimated == 3
    assert runs.creates()[SKY] == 3


async def test_it_fails_where_everything_has_refused_it(runs: Runs) -> None:
    refuse(runs)
    refuse(runs, STUDIO)
    ended = await runs.run([{"provider": LAB, "prompt": "a", "on_refusal": f"reseed: 1; fallback: {STUDIO}"}])
    assert (ended.summary.items.failed, ended.summary.exit_code) == (1, 1)
    assert (runs.creates()[LAB], runs.creates()[STUDIO]) == (2, 1)
    assert ended.usage.charged == 0
    again = await runs.run()
    assert again.summary.requests.create == 0, "it has failed for good"


async def test_refused_content_stays_refused_unless_the_option_names_it(runs: Runs) -> None:
    rude = {"provider": LAB, "prompt": "forbidden-content"}
    plain = await runs.run([{**rude, "on_refusal": f"fallback: {STUDIO}"}], batch="plain")
    assert plain.summary.items.failed == 1
    assert STUDIO not in runs.sandbox.books.requests or not runs.creates()[STUDIO]
    named = await runs.run([{**rude, "on_refusal": f"fallback: {STUDIO}; moderation: true"}], batch="named")
    assert named.summary.items.failed == 1, "the other one refuses it too"
    assert runs.creates()[STUDIO] == 1


async def test_a_failed_job_that_was_not_given_back_is_on_the_bill_of_its_provider(runs: Runs) -> None:
    runs.sandbox.configure(refund_failed=False)
    fail(runs, times=3)
    rows = [{**row, "on_refusal": f"fallback: [{STUDIO}]"} for row in numbered(LAB, 6)]
    ended = await runs.run(rows)
    assert ended.summary.items.stored == 6
    exact(runs, ended)
    assert billed(ended)[LAB] == 30
    by_model = {line.name.partition("/")[0]: line for line in ended.usage.by_model}
    assert (by_model[LAB].items, by_model[STUDIO].items) == (3, 3)
    chronicle = read_chronicle(runs.store, "batch")
    told = [(each.alternative, each.outcome.value) for one in chronicle.attempts.values() for each in one]
    assert sorted(told) == [(0, "failed")] * 3 + [(0, "succeeded")] * 3 + [(1, "succeeded")] * 3


async def test_providers_that_fall_back_to_each_other(runs: Runs) -> None:
    refuse(runs, LAB, rate=0.5)
    refuse(runs, STUDIO, rate=0.5)
    runs.sandbox.faults.add(FaultRule("cut_after", on="create", rate=0.1, times=3))
    rows = [{**row, "on_refusal": f"reseed: 1; fallback: {STUDIO}"} for row in numbered(LAB, 20)]
    rows += [{**row, "on_refusal": f"fallback: {LAB}; reseed: 1"} for row in numbered(STUDIO, 20)]
    ended = await runs.run(rows)
    assert ended.summary.items.stored + ended.summary.items.failed == 40
    assert ended.summary.items.stored > 25
    exact(runs, ended)
    assert (await runs.run()).summary.requests.create == 0


async def test_no_provider_is_waited_for_that_creates_no_more(runs: Runs) -> None:
    """What stops one of two that fall back to each other does not keep the other from ending."""
    runs.sandbox.faults.add(FaultRule("no_credits", provider=LAB))
    rows = [{**row, "on_refusal": f"fallback: {STUDIO}"} for row in numbered(LAB, 3)]
    rows += [{**row, "on_refusal": f"fallback: {LAB}"} for row in numbered(STUDIO, 3)]
    refuse(runs, STUDIO, times=1)
    ended = await runs.run(rows)
    assert (ended.summary.items.stored, ended.summary.items.planned) == (2, 4)
    assert ended.summary.stopped_by == ("credits",)
    runs.sandbox.faults.clear()
    again = await runs.run()
    assert again.summary.items.stored == 6
    assert billed(again) == charged(runs)


async def test_each_attempt_is_within_max_credits(runs: Runs) -> None:
    runs.sandbox.configure(refund_failed=False)
    fail(runs, times=4)
    rows = [{**row, "on_refusal": f"reseed: 1; fallback: {STUDIO}"} for row in numbered(LAB, 4)]
    ended = await runs.run(rows, max_credits=22)
    assert ended.summary.stopped_by == ("budget",)
    assert sum(charged(runs).values()) <= 22
    exact(runs, ended)
    more = await runs.run(rows, max_credits=100)
    assert more.summary.items.stored == 4
    assert billed(more) == charged(runs)


async def test_whoever_wants_it_again_begins_with_what_was_asked_for(runs: Runs) -> None:
    refuse(runs)
    refuse(runs, STUDIO)
    rows = [{"provider": LAB, "prompt": "a", "on_refusal": f"fallback: {STUDIO}"}]
    await runs.run(rows)
    runs.sandbox.faults.clear()
    ended = await runs.run(rows, retry_failed=True)
    assert ended.summary.items.stored == 1
    assert charged(runs).keys() == {LAB}
    exact(runs, ended)


async def test_what_is_not_asked_for_any_more_is_not_created_elsewhere(runs: Runs) -> None:
    fail(runs, times=1)
    row = {"provider": LAB, "prompt": "a", "on_refusal": f"fallback: {STUDIO}"}
    async with runs.session([row]) as session:
        session.shards.gone |= {1}
        await run_session(session)
        summary, _ = await session.close_books()
    assert summary.items.failed == 1
    assert STUDIO not in charged(runs)


async def test_collecting_leaves_what_was_refused_for_the_next_run(runs: Runs) -> None:
    fail(runs, times=1)
    rows = [{**row, "on_refusal": f"fallback: {STUDIO}"} for row in numbered(LAB, 3)]
    await runs.run(rows, detach=True)
    async with runs.session(create=False) as session:
        await run_session(session)
        summary, _ = await session.close_books()
    assert (summary.items.stored, summary.items.planned, summary.requests.create) == (2, 1, 0)
    ended = await runs.run()
    assert ended.summary.items.stored == 3
    exact(runs, ended)


async def test_a_changed_rule_makes_no_new_items(runs: Runs) -> None:
    rows = numbered(LAB, 3)
    await runs.run(rows)
    ended = await runs.run([{**row, "on_refusal": f"fallback: {STUDIO}"} for row in rows])
    assert (ended.summary.items.total, ended.summary.requests.create) == (3, 0)


async def test_each_attempt_is_within_the_budgets_of_its_provider(runs: Runs) -> None:
    runs.sandbox.configure(refund_failed=False)
    fail(runs, times=3)
    now = datetime(2026, 11, 10, 12, tzinfo=UTC)
    budget = Budget(name="team", limits={LAB: 25, STUDIO: 10}, period="total", set_at=now)
    set_budget(runs.store, budget)
    rows = [{**row, "on_refusal": f"fallback: [{STUDIO}]"} for row in numbered(LAB, 6)]
    ended = await runs.run(rows)
    assert ended.summary.stopped_by == ("budget",)
    assert charged(runs) == {LAB: 25, STUDIO: 10}
    exact(runs, ended)
    held = read_holdings(runs.store, budget.key, "total")
    assert {name: held.of(name, *SPENT) for name in (LAB, STUDIO)} == {LAB: 25, STUDIO: 10}
    assert held.of(LAB, "reserved") == held.of(STUDIO, "reserved") == 0
    set_budget(runs.store, budget.model_copy(update={"limits": {LAB: 100, STUDIO: 100}}))
    assert (await runs.run()).summary.items.stored == 6
    assert read_holdings(runs.store, budget.key, "total").of(STUDIO, *SPENT) == charged(runs)[STUDIO]


async def test_an_item_of_a_fallback_without_a_price_is_refused_under_a_limit(runs: Runs) -> None:
    row = {"provider": LAB, "prompt": "a", "on_refusal": f"fallback: [{SKY}]"}
    with pytest.raises(ConfigurationError, match=f"{SKY} tells no prices"):
        await runs.run([row], max_credits=100)
    assert runs.creates().get(LAB, 0) == 0


async def test_what_a_fallback_does_not_take_is_told_before_anything_is_spent(runs: Runs) -> None:
    row = {
        "provider": "imagineapi",
        "prompt": "a",
        "aspect_ratio": "16:9",
        "on_refusal": "fallback: [blockadelabs]",
    }
    with pytest.raises(InvalidPromptsError) as raised:
        await runs.run([row])
    [problem] = raised.value.problems
    assert problem.column == "on_refusal"
    assert "fallback blockadelabs: aspect_ratio: " in str(problem)


async def test_the_estimate_has_every_attempt(runs: Runs) -> None:
    rule = f"reseed: 2; fallback: [{STUDIO}]"
    rows = [{**row, "on_refusal": rule} for row in numbered(LAB, 4)]
    asked = ask(list(enumerate(rows, 1)), Defaults(), {})
    async with prepare_batch(runs.store, "batch", asked, runs.accounts, BatchOptions()) as prepared:
        lines = [(each.provider, each.items, each.credits, each.if_refused) for each in prepared.expected]
        assert lines == [(LAB, 4, 20, False), (LAB, 8, 40, True), (STUDIO, 4, 20, True)]
        assert estimate_text(prepared.expected) == (
            f"4 items: {LAB} 20 credits; if refused, at most {LAB} 40 credits; {STUDIO} 20 credits more"
        )


async def test_settled_it_says_the_same_in_the_ledger_and_in_the_metrics(runs: Runs) -> None:
    runs.sandbox.configure(refund_failed=False)
    fail(runs, times=2)
    refuse(runs, STUDIO, times=1)
    rule = f"fallback: [{STUDIO}, {SKY}]"
    rows = [{**row, "on_refusal": rule, "labels": {"team": "a"}} for row in numbered(LAB, 5)]
    followed = KnownRoot(runs.store)
    ended = await runs.run(rows, prices={SKY: {"default": 1}})
    assert ended.summary.items.stored == 5
    fresh = KnownRoot(runs.store)
    now = datetime.now(UTC)
    for known in (followed, fresh):
        figures = dict(known.look().figures)
        assert {name.partition("/")[0]: int(each.charged) for name, each in figures.items()} == {
            LAB: 25,
            STUDIO: 5,
            SKY: 0,
        }
    ledger = read_ledger(runs.store, 2, now)
    assert {line.name.partition("/")[0]: line.charged for line in ledger.by_model} == {
        LAB: 25,
        STUDIO: 5,
        SKY: 0,
    }
    assert sum(line.items for line in ledger.by_model) == 5
    assert [line.charged for line in ledger.by_label] == [30]


async def test_what_a_damaged_journal_has_lost_of_another_way_is_looked_for_there(runs: Runs) -> None:
    """The refusal, what followed upon it, and the job elsewhere are lost: it is found, and not paid again."""
    refuse(runs, times=1)
    row = {"provider": LAB, "prompt": "a", "on_refusal": f"fallback: [{STUDIO}]"}
    runs.sandbox.configure(latency={"image": (0.1, 0.2)})
    ended = await runs.run([row])
    assert ended.summary.items.stored == 1
    refuse(runs, times=1)
    for found in list(runs.store.list("batch/snapshots/")):
        runs.store.delete(found.key)
    runs.store.delete("batch/settled.json")
    segments = sorted(found.key for found in runs.store.list("batch/journal/"))
    first = next(key for key in segments if b'"kind":"refused"' in (runs.store.read(key) or b""))
    for key in segments[segments.index(first) :]:
        runs.store.put(key, b"")
    again = await runs.run()
    assert again.summary.items.stored == 1
    assert charged(runs) == {STUDIO: 5}


@pytest.mark.parametrize("refunded", [True, False])
async def test_a_job_that_fails_long_after_it_was_given_up_ends_one_way_and_not_the_next(
    runs: Runs, refunded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_imagine.engine.stages.poll.OVERDUE_SECONDS", 0.3)
    runs.sandbox.configure(latency={"image": (2.5, 2.6), "video": (6.0, 6.1)}, refund_failed=refunded)
    fail(runs, times=1, match="given up")
    rows = [{"provider": LAB, "prompt": "given up", "on_refusal": f"fallback: [{STUDIO}, {SKY}]"}]
    rows.append({"provider": LAB, "prompt": "long", "kind": "video"})
    timing = TIMING.model_copy(update={"longest_job": 1.0, "longest_video": 100.0})
    await runs.run(rows, timing=timing, prices={SKY: {"default": 1}})
    ended = await runs.run(rows, prices={SKY: {"default": 1}})
    assert ended.summary.items.stored == 2
    assert (runs.creates()[STUDIO], runs.creates()[SKY]) == (1, 0)
    exact(runs, ended)


async def test_a_run_ends_whose_first_create_after_lost_ones_goes_elsewhere(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("cut_before", provider=LAB, on="create", times=2))
    refuse(runs)
    rows = [{**row, "on_refusal": f"fallback: {STUDIO}"} for row in numbered(LAB, 2)]
    ended = await asyncio.wait_for(runs.run(rows), 60)
    assert ended.summary.items.stored == 2
    exact(runs, ended)


async def test_providers_that_fall_back_to_each_other_do_not_wait_for_what_nobody_waits_for(
    runs: Runs,
) -> None:
    for provider in (LAB, STUDIO):
        runs.sandbox.faults.add(FaultRule("job_hangs", provider=provider, times=1))
    rows = [{**row, "on_refusal": f"fallback: {STUDIO}"} for row in numbered(LAB, 2)]
    rows += [{**row, "on_refusal": f"fallback: {LAB}"} for row in numbered(STUDIO, 2)]
    timing = TIMING.model_copy(update={"longest_job": 1.0})
    ended = await asyncio.wait_for(runs.run(rows, timing=timing), 60)
    assert (ended.summary.items.stored, ended.summary.items.failed) == (2, 2)
    runs.sandbox.configure(latency={"image": (600.0, 600.0)})
    let_go = await asyncio.wait_for(runs.run(rows, batch="let-go", detach=True), 60)
    assert let_go.summary.items.under_way == 4


async def test_a_limit_is_kept_of_what_may_follow_upon_jobs_under_way(runs: Runs) -> None:
    runs.sandbox.configure(latency={"image": (600.0, 600.0)})
    fail(runs)
    rows = [{**row, "on_refusal": f"fallback: [{SKY}]"} for row in numbered(LAB, 2)]
    await runs.run(rows, detach=True)
    runs.sandbox.advance(700)
    with pytest.raises(ConfigurationError, match=f"{SKY} tells no prices"):
        await runs.run(max_credits=100)
    assert runs.creates()[SKY] == 0


async def test_what_is_withdrawn_while_its_job_runs_is_not_created_elsewhere_by_a_later_run(
    runs: Runs,
) -> None:
    runs.sandbox.configure(latency={"image": (600.0, 600.0)})
    fail(runs)
    rows = [{**row, "on_refusal": f"fallback: {STUDIO}"} for row in numbered(LAB, 2)]
    await runs.run(rows, detach=True)
    await runs.run(rows[:1], detach=True)
    runs.sandbox.configure(latency={"image": (0.1, 0.2)})
    runs.sandbox.advance(700)
    ended = await runs.run()
    assert (ended.summary.items.stored, ended.summary.items.failed) == (1, 1)
    assert runs.creates()[STUDIO] == 1
