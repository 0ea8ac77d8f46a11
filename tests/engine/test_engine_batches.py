"""Whole batches over the sandbox: budgets, failures, second thoughts, neighbours and second runners."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.batches.reading import read_journal, segment_key
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import BatchBusyError, FencedError
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import TIMING, Runs, numbered, rows_of
from tests.engine.waiting import until

PROVIDERS = ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio")


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    sandbox.configure(rate_limits={"aivisualstudio": RateLimit()})
    return Runs(sandbox, open_store(str(tmp_path / "root")))


def all_four(count: int) -> list[dict[str, object]]:
    return [dict(row) for provider in PROVIDERS for row in numbered(provider, count)]


async def test_four_providers_side_by_side_in_a_bucket(sandbox: RunningSandbox, aws: S3Server) -> None:
    store = open_store(f"s3://{aws.make_bucket()}/prefix")
    runs = Runs(sandbox, store)
    sandbox.faults.add(FaultRule("cut_after", on="create", times=3))
    sandbox.faults.add(FaultRule("truncated", on="media", times=3))
    assert (await runs.run(all_four(3))).summary.exit_code == 0
    runs.check()
    store.close()


async def test_a_finished_batch_costs_no_request(runs: Runs) -> None:
    rows = all_four(2)
    await runs.run(rows)
    before = runs.sandbox.report(jobs=False)["requests"]
    assert (await runs.run(rows)).summary.exit_code == 0
    assert runs.sandbox.report(jobs=False)["requests"] == before
    runs.check()


async def test_a_full_queue_is_found_out_and_slows_nothing_else(runs: Runs) -> None:
    """Its answers of 429 look like those of a rate limit."""
    runs.sandbox.configure(pending_caps={"blockadelabs": 3}, latency={"image": (5.0, 5.0)})
    ended = await runs.run(numbered("blockadelabs", 6))
    assert ended.summary.exit_code == 0
    assert ended.summary.requests.create <= 6 + 4, "those refused together, and one more to find out"
    run = ended.session.runs["blockadelabs"]
    assert (
        run.admission.max_pending.limit,
        run.client.pacer.limited,
    ) == (3, False)
    runs.check()


async def test_a_full_queue_that_tells_how_long_to_wait_is_found_out_too(runs: Runs) -> None:
    runs.sandbox.configure(
        pending_caps={"blockadelabs": 3}, latency={"image": (2.0, 2.0)}, pending_retry_after=0.3
    )
    ended = await runs.run(numbered("blockadelabs", 9))
    assert ended.summary.exit_code == 0
    assert ended.session.runs["blockadelabs"].admission.max_pending.limit is not None
    assert ended.summary.requests.create <= 9 + 6 + 3, (
        "those sent before the first refusal, and a few to find out"
    )
    runs.check()


class TestMoney:
    """What may be spent, and what is when the account is empty."""

    @pytest.mark.parametrize("provider", ["imaginelab", "aivisualstudio"])
    async def test_a_budget_is_kept_to_the_credit_and_can_be_raised(self, runs: Runs, provider: str) -> None:
        rows = numbered(provider, 6)
        price = (await runs.run(rows[:1], batch="price")).summary.credits.charged
        ended = await runs.run(rows, max_credits=price * 3 + price / 2)
        assert ended.summary.exit_code == 3
        assert ended.summary.credits.charged == price * 3
        assert (ended.summary.items.stored, ended.summary.items.planned) == (3, 3)
        assert "max_credits" in (ended.summary.error or "")
        again = await runs.run(rows, max_credits=price * 3 + price / 2)
        assert (again.summary.exit_code, again.summary.requests.create) == (3, 0)
        assert (await runs.run(rows, max_credits=price * 6)).summary.exit_code == 0
        runs.check()

    async def test_what_may_have_been_charged_counts(self, runs: Runs) -> None:
        runs.sandbox.faults.add(FaultRule("cut_after", "imaginelab", "create"))
        rows = numbered("imaginelab", 4)
        ended = await runs.run(rows, max_credits=11)
        assert ended.summary.exit_code == 3
        assert runs.sandbox.report(jobs=False)["charged"]["imaginelab"] <= 11

    @pytest.mark.parametrize("fault", ["cut_before", "refused"])
    async def test_what_turns_out_to_cost_nothing_is_spent_on_others(self, runs: Runs, fault: str) -> None:
        runs.sandbox.faults.add(FaultRule(fault, "imaginelab", "create", times=1))
        ended = await runs.run(numbered("imaginelab", 6), max_credits=15)
        assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 3)
        assert ended.usage.charged == runs.sandbox.report(jobs=False)["charged"]["imaginelab"] == 15

    async def test_what_one_provider_gives_back_is_spent_with_another(self, runs: Runs) -> None:
        runs.sandbox.faults.add(FaultRule("cut_before", "imaginelab", "create", times=1))
        runs.sandbox.faults.add(FaultRule("refused", "imaginelab", "create", times=1, skip=1))
        rows = [*numbered("imaginelab", 1), *numbered("aivisualstudio", 8)]
        ended = await runs.run(rows, max_credits=25)
        assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 5)
        assert ended.usage.charged == 25

    async def test_a_new_batch_whose_first_creates_all_are_lost_ends(self, runs: Runs) -> None:
        runs.sandbox.faults.add(FaultRule("cut_before", "imaginelab", "create", times=3))
        async with asyncio.timeout(120):
            ended = await runs.run(numbered("imaginelab", 6), max_credits=12)
        assert ended.summary.exit_code == 3
        again = await runs.run(max_credits=12)
        assert (again.summary.exit_code, again.summary.items.stored) == (3, 2)
        assert again.usage.charged == runs.sandbox.report(jobs=False)["charged"]["imaginelab"] == 10

    async def test_one_providers_budget_does_not_stop_the_other(self, runs: Runs) -> None:
        rows = [*numbered("imaginelab", 3), *numbered("aivisualstudio", 3)]
        ended = await runs.run(rows, max_credits_by_provider={"imaginelab": 0})
        assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 3)
        assert (await runs.run(rows)).summary.exit_code == 0
        runs.check()

    async def test_what_a_provider_that_is_done_has_cost_counts_on_a_resume(self, runs: Runs) -> None:
        rows = [*numbered("imaginelab", 3), *numbered("aivisualstudio", 3)]
        first = await runs.run(rows, max_credits_by_provider={"aivisualstudio": 0})
        [done] = [line for line in first.usage.by_provider if line.charged]
        ended = await runs.run(rows, max_credits=done.charged + 5)
        assert (ended.summary.exit_code, ended.summary.items.stored) == (3, 4)
        assert ended.usage.charged == done.charged + 5

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_a_key_that_is_refused_after_something_was_paid_is_no_bad_input(
        self, runs: Runs, provider: str
    ) -> None:
        runs.sandbox.faults.add(FaultRule("expired_token", provider, "create", skip=2))
        ended = await runs.run(numbered(provider, 5))
        assert (ended.summary.exit_code, ended.summary.items.stored) == (5, 2)

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_an_empty_account_stops_and_more_credits_go_on(self, runs: Runs, provider: str) -> None:
        runs.sandbox.faults.add(FaultRule("no_credits", provider, "create", skip=2))
        rows = numbered(provider, 5)
        ended = await runs.run(rows)
        assert ended.summary.exit_code == 3
        assert (ended.summary.items.stored, ended.summary.items.planned) == (2, 3)
        runs.sandbox.faults.clear()
        assert (await runs.run(rows)).summary.exit_code == 0
        runs.check()


class TestSecondThoughts:
    """What a person may ask of a batch that has ended."""

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_failed_jobs_stay_failed_until_told_otherwise(self, runs: Runs, provider: str) -> None:
        runs.sandbox.faults.add(FaultRule("job_fails", provider, times=1))
        rows = numbered(provider, 3)
        ended = await runs.run(rows)
        assert (ended.summary.exit_code, ended.summary.items.failed) == (1, 1)
        again = await runs.run(rows)
        assert (again.summary.exit_code, again.summary.requests.create) == (1, 0)
        last = await runs.run(rows, retry_failed=True)
        assert (last.summary.exit_code, last.summary.requests.create) == (0, 1)
        assert sorted(runs.accepted(provider).values()) == [1, 1, 2]
        charged = runs.sandbox.report(jobs=False)["charged"][provider]
        [line] = last.usage.by_provider
        assert line.charged == (charged if provider in ("imaginelab", "aivisualstudio") else 0)

    async def test_what_fails_after_it_was_asked_stays_failed(self, runs: Runs) -> None:
        """Its cost was not told, and nobody has approved it."""
        runs.sandbox.faults.add(FaultRule("job_fails", times=2))
        rows = numbered("aivisualstudio", 3)
        await runs.run(rows)
        options = BatchOptions(batch_id="batch", timing=TIMING, retry_failed=True)
        async with prepare_batch(runs.store, "batch", None, runs.accounts, options) as opened:
            assert sum(line.items for line in opened.expected) == 2
            runs.sandbox.faults.add(FaultRule("job_fails", times=1))
            meanwhile = await runs.run(rows, retry_failed=True)
            assert (meanwhile.summary.items.failed, meanwhile.summary.requests.create) == (1, 2)
            async with open_session(opened, runs.store, options, pauses=runs.pauses) as session:
                await run_session(session)
                summary, _ = await session.close_books()
        assert (summary.items.failed, summary.requests.create) == (1, 0)

    async def test_a_run_that_begins_again_creates_what_failed_once(self, runs: Runs) -> None:
        """A crashed flow run is executed anew with the parameters that it had."""
        runs.sandbox.faults.add(FaultRule("job_fails"))
        rows = numbered("aivisualstudio", 2)
        await runs.run(rows)
        again = [await runs.run(rows, asked_by=run, retry_failed=True) for run in ("a", "a", "b")]
        assert [ended.summary.requests.create for ended in again] == [2, 0, 2]

    async def test_what_is_open_is_told_among_what_may_be_created(self, runs: Runs) -> None:
        rows = numbered("imaginelab", 4)
        await self._die_with_open_attempts(runs, rows)
        options = BatchOptions(batch_id="batch")
        async with prepare_batch(runs.store, "batch", None, runs.accounts, options) as opened:
            states = read_journal(runs.store, "batch").state
            left = sum(states[index].phase in (Phase.OPEN, Phase.PLANNED) for index in range(1, 5))
            assert any(state.phase is Phase.OPEN for state in states.items.values())
            assert sum(line.items for line in opened.expected) == left

    @pytest.mark.parametrize("refunds", [True, False])
    async def test_a_failed_jobs_credits_are_as_in_the_books(self, runs: Runs, refunds: bool) -> None:
        runs.sandbox.configure(refund_failed=refunds)
        runs.sandbox.faults.add(FaultRule("job_fails", times=2))
        rows = [*numbered("imaginelab", 3), *numbered("aivisualstudio", 3)]
        ended = await runs.run(rows)
        charged = runs.sandbox.report(jobs=False)["charged"]
        assert {line.name: line.charged for line in ended.usage.by_provider} == {
            name: charged[name] for name in ("imaginelab", "aivisualstudio")
        }
        assert ended.usage.refund_unknown_items == (0 if refunds else 2)

    async def test_refused_prompts_are_not_asked_for_again(self, runs: Runs) -> None:
        rows = rows_of("imaginelab", "fine", "forbidden-content")
        ended = await runs.run(rows)
        assert (ended.summary.exit_code, ended.summary.items.failed) == (1, 1)
        assert (await runs.run(rows)).summary.requests.create == 0
        assert (await runs.run(rows, retry_failed=True)).summary.requests.create == 1
        assert runs.accepted("imaginelab") == {"fine": 1}

    async def test_reconcile_finds_what_a_run_left_open_and_creates_nothing(self, runs: Runs) -> None:
        rows = numbered("imaginelab", 4)
        await self._die_with_open_attempts(runs, rows)
        async with runs.session(create=False) as session:
            await run_session(session)
            summary, _ = await session.close_books()
        assert summary.requests.create == 0
        assert summary.items.stored == len(runs.sandbox.books.jobs) > 0
        assert (await runs.run(rows)).summary.exit_code == 0
        runs.check()

    async def test_reconcile_finds_what_was_given_up_as_unknown(self, runs: Runs) -> None:
        runs.sandbox.configure(history_mode="missing")
        runs.sandbox.faults.add(FaultRule("cut_after", "imaginelab", "create", times=1))
        rows = numbered("imaginelab", 2)
        ended = await runs.run(rows)
        assert ended.summary.items.unknown == 1
        runs.sandbox.configure(history_mode="bare")
        async with runs.session(create=False, recreate_unknown=True) as session:
            await run_session(session)
            summary, _ = await session.close_books()
        assert (summary.exit_code, summary.requests.create) == (0, 0)
        runs.check()

    async def _die_with_open_attempts(self, runs: Runs, rows: Sequence[Mapping[str, Any]]) -> None:
        """As a killed process leaves it: intents without an end."""
        runs.sandbox.faults.add(FaultRule("cut_after", "imaginelab", "create", times=2))
        runs.sandbox.configure(history_mode="missing")
        async with runs.session(rows) as session:
            going = asyncio.ensure_future(run_session(session))
            await until(lambda: len(session.runs["imaginelab"].queues.open) >= 2)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
        runs.sandbox.configure(history_mode="bare")


@pytest.mark.parametrize("asked_for", [True, False])
async def test_what_is_under_way_is_cancelled_only_where_asked(runs: Runs, asked_for: bool) -> None:
    runs.sandbox.configure(latency={"image": (3600.0, 3600.0)})
    async with runs.session(numbered("blockadelabs", 3), cancel_in_flight=asked_for) as session:
        running = asyncio.create_task(run_session(session))
        await until(lambda: len(session.runs["blockadelabs"].queues.running) == 3)
        session.stop(StopReason.TERMINATED, "by a test")
        await running
    states = Counter(job["status"] for job in runs.sandbox.report(sums=False)["jobs"])
    assert states == Counter({"aborted" if asked_for else "running": 3})


class TestNeighbours:
    """Other batches and other runners."""

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_two_batches_of_the_same_prompts_at_once(self, runs: Runs, provider: str) -> None:
        runs.sandbox.faults.add(FaultRule("cut_after", provider, "create", times=1, skip=3))
        rows = rows_of(provider, "same", "same", "other")
        ended = await asyncio.gather(*(runs.run(rows, batch=name) for name in ("one", "two")))
        unknown = sum(each.summary.items.unknown for each in ended)
        if unknown:  # both had the same class open: reported, and never paid twice
            assert all(
                count <= runs.asked[provider, prompt] for prompt, count in self._counts(runs, provider)
            )
        else:
            assert [each.summary.exit_code for each in ended] == [0, 0]
            runs.check()

    def _counts(self, runs: Runs, provider: str) -> list[tuple[str, int]]:
        return list(runs.accepted(provider).items())

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_a_second_batch_does_not_adopt_the_firsts_jobs(self, runs: Runs, provider: str) -> None:
        rows = rows_of(provider, "same")
        await runs.run(rows, batch="one")
        runs.sandbox.faults.add(FaultRule("cut_before", provider, "create", times=1))
        assert (await runs.run(rows, batch="two")).summary.exit_code == 0
        assert runs.accepted(provider) == {"same": 2}
        runs.check()

    async def test_a_damaged_neighbour_does_not_end_this_batch(self, runs: Runs) -> None:
        await runs.run(numbered("imaginelab", 1), batch="broken")
        runs.store.put("broken/plan.jsonl", b"garbage")
        runs.sandbox.faults.add(FaultRule("cut_before", "imaginelab", "create", times=1))
        ended = await runs.run(rows_of("imaginelab", "mine"), batch="mine")
        assert ended.summary.exit_code in (0, 1)

    async def test_a_second_run_of_a_living_batch_is_busy(self, runs: Runs) -> None:
        rows = numbered("imaginelab", 2)
        async with runs.session(rows) as session:
            with pytest.raises(BatchBusyError):
                await runs.run(rows)
            await run_session(session)
            await session.close_books()
        runs.check()

    async def test_a_second_run_that_waits_finds_everything_done(self, runs: Runs) -> None:
        rows = numbered("imaginelab", 4)
        running = asyncio.ensure_future(runs.run(rows))
        await until(lambda: sum(runs.sandbox.books.accepted.values()) >= 1)
        second = await runs.run(rows, wait=True)
        first = await running
        assert (first.summary.exit_code, second.summary.exit_code) == (0, 0)
        assert first.summary.requests.create + second.summary.requests.create == 4
        runs.check()

    async def test_a_run_that_is_taken_over_ends_as_fenced(self, runs: Runs) -> None:
        runs.sandbox.configure(latency={"image": (3600.0, 3600.0)})
        rows = numbered("imaginelab", 120)
        first = asyncio.ensure_future(runs.run(rows))
        await until(lambda: sum(runs.sandbox.books.accepted.values()) >= 30)
        async with runs.session(rows, force=True) as session:
            with pytest.raises(FencedError):
                await first
            runs.sandbox.configure(latency={"image": (0.1, 0.1)})
            runs.sandbox.advance(7200)
            await run_session(session)
            await session.close_books()
        runs.check()

    async def test_two_that_make_the_same_batch_at_once_have_one_plan(self, runs: Runs) -> None:
        """Blockade's seeds are drawn when planning: whoever comes second must take the first one's."""
        asked = ask(list(enumerate(numbered("blockadelabs", 3), 1)), Defaults(), {})
        options = BatchOptions(timing=Timing(deadline=1, create=1.5, settle=0.5))
        accounts = runs.accounts
        async with (
            prepare_batch(runs.store, "b", asked, accounts, options) as one,
            prepare_batch(runs.store, "b", asked, accounts, options) as two,
        ):
            for each in (one, two):
                await persist_plan(runs.store, each)
            kept = []
            for each in (one, two):
                async with open_session(each, runs.store, options) as session:
                    kept.append(session.shards.of(1).plan)
        assert kept == [read_plan(runs.store, "b")] * 2


class TestDamage:
    """A journal that has lost some of what it said."""

    @pytest.mark.parametrize("provider", PROVIDERS)
    @pytest.mark.parametrize("hours", [0, -1], ids=["", "and our clock is an hour ahead"])
    async def test_no_segment_that_is_lost_makes_anything_paid_twice(
        self, runs: Runs, provider: str, hours: int
    ) -> None:
        runs.sandbox.configure(clock_offset_seconds=3600.0 * hours)
        rows = numbered(provider, 3)
        await runs.run(rows)
        runs.store.delete("batch/settled.json")  # of one that has settled the journal is not read any more
        for seq in range(2, read_journal(runs.store, "batch").seq + 1, 2):
            runs.store.put(segment_key("batch", seq), b"garbage")
        assert (await runs.run(rows)).summary.items.failed == 0
        assert Counter(runs.accepted(provider)) == Counter(row["prompt"] for row in rows)
        state = read_journal(runs.store, "batch").state
        assert all(state[index].phase is not Phase.PLANNED for index in (1, 2, 3))
