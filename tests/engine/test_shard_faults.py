"""What goes wrong with batches of several shards: every one of these was lost, paid twice, or never ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from prefect_imagine.batches.lease import who_runs
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.reading import read_journal, segment_key
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.billing.root import take_stock
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.maintenance import cancel_jobs, reconcile
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import ConfigurationError, ProviderError, StoreError
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.providers.apis.blockadelabs import BlockadeLabsClient
from prefect_imagine.providers.spec import Account
from prefect_imagine.sandbox import FaultRule
from prefect_imagine.stores import Store
from tests.engine.engine_runs import TIMING, Row, Runs, numbered, rows_of
from tests.engine.waiting import until

IMPATIENT = TIMING.model_copy(update={"longest_job": 1.0})


class _Watched:
    """A store that says what is about to be written."""

    def __init__(self, store: Store, before: Callable[[str], None]) -> None:
        self._store = store
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, key: str, *rest: Any) -> bool:
        self._before(key)
        return self._store.put_new(key, *rest)

    def put(self, key: str, *rest: Any) -> None:
        self._before(key)
        self._store.put(key, *rest)


def watched(store: Store, before: Callable[[str], None]) -> Store:
    """The same store, with something done before each write."""
    return cast(Store, _Watched(store, before))


class TestJobsThatFailedForNow:
    """They are counted as failed, and are followed all the same by whoever looks next."""

    async def overdue(self, runs: Runs, count: int, **options: Any) -> None:
        runs.sandbox.configure(latency={"image": (60.0, 60.0)})
        first = await runs.run(numbered("imaginelab", count), timing=IMPATIENT, **options)
        assert first.summary.items.failed == count
        runs.sandbox.advance(120)
        runs.sandbox.configure(latency={"image": (0.1, 0.1)})

    async def test_a_later_run_of_more_rows_takes_them_in(self, runs: Runs) -> None:
        await self.overdue(runs, 2)
        assert (await runs.run(numbered("imaginelab", 3))).summary.items.stored == 3
        runs.check()

    async def test_reconcile_takes_them_in_from_all_shards(self, runs: Runs) -> None:
        await self.overdue(runs, 6, shard_size=2)
        summary, _ = await reconcile(runs.store, "batch", runs.accounts)
        assert summary.items.stored == 6
        runs.check()

    async def test_outputs_that_could_not_be_stored_are_stored_later(self, runs: Runs) -> None:
        runs.sandbox.faults.add(FaultRule("html", on="media"))
        first = await runs.run(numbered("imaginelab", 4), shard_size=2)
        assert first.summary.items.failed == 4
        runs.sandbox.faults.clear()
        assert (await runs.run(None)).summary.items.stored == 4
        runs.check()


class TestAProviderThatIsGone:
    """Its part neither breaks the others' nor holds it up."""

    async def test_open_creates_hold_up_nobody(self, runs: Runs) -> None:
        timing = TIMING.model_copy(update={"patience": 2.0})
        both = zip(numbered("imaginelab", 12), numbered("blockadelabs", 12), strict=True)
        rows = [row for pair in both for row in pair]
        async with runs.session(rows, shard_size=2, timing=timing) as session, asyncio.timeout(90):
            for on in ("create", "list", "read"):
                runs.sandbox.faults.add(FaultRule("cut_before", provider="imaginelab", on=on))
            await run_session(session)
            summary, _ = await session.close_books()
        assert summary.items.stored == 12

    async def test_what_waits_to_be_stored_is_stored(self, runs: Runs) -> None:
        # Sixteen are stored at once: of the others some wait, however slow the machine is.
        runs.sandbox.faults.add(FaultRule("slow", provider="imaginelab", on="media", seconds=5.0))
        rows = [*numbered("imaginelab", 24), *numbered("blockadelabs", 20)]
        async with runs.session(rows, shard_size=4) as session, asyncio.timeout(90):
            running = asyncio.ensure_future(run_session(session))
            run = session.runs["imaginelab"]
            await until(lambda: len(run.queues.to_store) >= 4)
            run.halt(StopReason.UNREACHABLE, "the key is not accepted any more")
            await running
            summary, _ = await session.close_books()
        assert summary.items.stored >= 20 + 4


class TestPlans:
    """A plan that is gone is never planned again."""

    async def test_planning_that_was_interrupted_goes_on(self, runs: Runs) -> None:
        """Also of a flow run's own batch, whose id nobody has given."""
        asked = ask(list(enumerate(numbered("imaginelab", 6), 1)), Defaults(), {})
        options = BatchOptions(timing=TIMING, shard_size=2)

        def dies(key: str) -> None:
            if key.endswith("shards/00002/plan.jsonl"):
                raise StoreError("killed")

        async with prepare_batch(runs.store, "batch", asked, runs.accounts, options) as prepared:
            with pytest.raises(ConfigurationError, match="killed"):
                await persist_plan(watched(runs.store, dies), prepared)
        async with prepare_batch(runs.store, "batch", asked, runs.accounts, options, keep=True) as prepared:
            await persist_plan(runs.store, prepared)
            async with open_session(prepared, runs.store, options, pauses=runs.pauses) as session:
                await run_session(session)
                summary, _ = await session.close_books()
        assert (summary.items.total, summary.items.stored) == (6, 6)

    @pytest.mark.parametrize("damage", ["gone", "cut short"])
    @pytest.mark.parametrize("shard", [1, 2])
    async def test_a_damaged_plan_of_a_settled_shard_is_an_error(
        self, runs: Runs, damage: str, shard: int
    ) -> None:
        rows = numbered("imaginelab", 6)
        await runs.run(rows, shard_size=2)
        key = f"{shard_path('batch', shard)}/plan.jsonl"
        lines = (runs.store.read(key) or b"").splitlines(keepends=True)
        runs.store.delete(key)
        if damage == "cut short":
            runs.store.put(key, lines[0])
        with pytest.raises(ConfigurationError, match="the plan of"):
            await runs.run(rows)
        assert set(runs.accepted("imaginelab").values()) == {1}

    async def test_a_lost_plan_hides_no_later_shard(self, runs: Runs) -> None:
        rows = numbered("imaginelab", 6)
        await runs.run(rows, shard_size=2)
        for name in ("plan.jsonl", "settled.json"):
            runs.store.delete(f"{shard_path('batch', 2)}/{name}")
        with pytest.raises(ConfigurationError, match="00002 is gone"):
            await runs.run(rows)


async def test_a_gone_create_that_was_never_accepted_keeps_no_other_from_being_tried(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("cut_before", on="create", times=2))
    rows = rows_of("imaginelab", "a", "b")
    async with runs.session(rows) as session:
        running = asyncio.ensure_future(run_session(session))
        run = session.runs["imaginelab"]
        await run.wake_up.wait_for(lambda: len(run.queues.open) == 2, 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(60):
        ended = await runs.run(rows[1:])
    assert (ended.summary.items.stored, ended.summary.items.withdrawn) == (1, 1)


async def test_what_was_withdrawn_stays_so_when_the_run_is_stopped(runs: Runs) -> None:
    rows = numbered("imaginelab", 12)
    await runs.run(rows, shard_size=1, max_credits=5)
    runs.sandbox.configure(latency={"image": (60.0, 60.0)})
    async with runs.session(rows[:6]) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: session.progress().running >= 1)
        session.stop(StopReason.INTERRUPTED, "stopped; it can be resumed")
        await running
        await session.close_books()
    runs.sandbox.advance(120)
    runs.sandbox.configure(latency={"image": (0.1, 0.1)})
    ended = await runs.run(None)
    assert (ended.summary.items.stored, ended.summary.items.withdrawn) == (6, 6)
    assert len(runs.accepted("imaginelab")) == 6


async def test_a_shard_that_a_neighbour_has_settled_is_opened_for_what_is_tried_again(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("job_fails", times=1))
    rows = numbered("imaginelab", 2)
    await runs.run(rows)
    runs.store.delete("batch/settled.json")
    accounts = runs.accounts

    async def looked_at(providers: Sequence[str]) -> Mapping[str, Account]:
        assert isinstance(take_stock(runs.store, "batch", 1), Settlement)
        return await accounts(providers)

    runs.accounts = looked_at  # type: ignore[method-assign]
    assert (await runs.run(rows, retry_failed=True)).summary.items.stored == 2


async def test_a_run_that_is_cancelled_while_it_leaves_a_shard_lets_go_of_it(runs: Runs) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slow(key: str) -> None:
        if key.endswith("settled.json"):
            begun.set()
            assert goes_on.wait(30)

    store, runs.store = runs.store, watched(runs.store, slow)
    rows = numbered("imaginelab", 12)
    async with runs.session(rows, shard_size=1) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(begun.is_set)
        running.cancel()
        goes_on.set()
        await asyncio.gather(running, return_exceptions=True)
    runs.store = store
    paths = [shard_path("batch", number) for number in shard_numbers(runs.store, "batch")]
    assert [path for path in paths if who_runs(runs.store, path) is not None] == []
    assert (await runs.run(rows)).summary.items.stored == 12
    runs.check()


async def test_jobs_that_are_not_cancelled_at_once_break_no_cancellation(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.sandbox.configure(latency={"image": (60.0, 60.0)})
    rows: list[Row] = numbered("blockadelabs", 4)
    async with runs.session(rows, shard_size=2) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: session.progress().running == 4)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def refuses(client: BlockadeLabsClient, job: str) -> None:
        raise ProviderError("it is being worked on")

    monkeypatch.setattr(BlockadeLabsClient, "cancel", refuses)
    summary, _ = await cancel_jobs(runs.store, "batch", runs.accounts)
    assert summary.items.under_way == 4


async def test_a_foreign_file_that_asks_for_withdrawn_rows_is_refused(runs: Runs) -> None:
    rows = numbered("imaginelab", 2)
    options = BatchOptions(batch_id="batch", timing=TIMING)
    asked = ask(list(enumerate(rows, 1)), Defaults(), {})
    source = "/one/prompts.csv"
    async with prepare_batch(runs.store, "batch", asked, runs.accounts, options, source=source) as prepared:
        await persist_plan(runs.store, prepared)
    await runs.run(rows[:1])
    with pytest.raises(ConfigurationError, match="lacks 1 of these"):
        async with prepare_batch(
            runs.store, "batch", asked, runs.accounts, options, source="/two/prompts.csv", amend=False
        ):
            pytest.fail("it was compared")


async def test_what_came_back_before_its_journal_was_torn_is_looked_for(runs: Runs) -> None:
    rows = numbered("imaginelab", 2)
    await runs.run(rows, max_credits=5)
    await runs.run(rows[:1])
    before = read_journal(runs.store, "batch").seq
    await runs.run(rows)
    for seq in range(before + 1, read_journal(runs.store, "batch").seq + 1):
        key = segment_key("batch", seq)
        data = runs.store.read(key) or b""
        runs.store.put(key, data[: len(data) // 8])
    runs.store.delete("batch/settled.json")
    await runs.run(None)
    _, usage = await reconcile(runs.store, "batch", runs.accounts)
    assert usage.charged == runs.sandbox.report(jobs=False)["charged"]["imaginelab"] == 10
