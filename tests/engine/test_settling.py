"""What a run says when it settles its batch: what its journal says, whoever else took part."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from prefect_imagine.batches.index import ensure_index, read_index
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import AnyItemRecord, Created, Finished, Intent, Refused, Retry
from prefect_imagine.batches.shards import FIRST
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.root import take_stock
from prefect_imagine.billing.settlement import Settlement, read_settlement, settlement_key
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.providers.models import Generation, GenerationStatus
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store
from tests.engine.engine_runs import Runs, numbered
from tests.engine.fake_provider import LOST_BEFORE, FakeProvider, Job, moment, plan_of
from tests.engine.test_looking_back import looked_for, shaped
from tests.engine.worlds import World, world

__all__ = ["world"]

ROWS = numbered("imaginelab", 1)


def intent(attempt: int = 1) -> Intent:
    now = utc_now()
    return Intent(item=1, at=now, attempt=attempt, provider_at=now, boot="", boot_at=0.0)


def refused() -> AnyItemRecord:
    return Refused(item=1, at=utc_now(), attempt=1, final=True, reason="invalid", message="no")


async def test_a_record_whose_stage_was_cancelled_is_in_the_books(
    sandbox: RunningSandbox, store: Store
) -> None:
    runs = Runs(sandbox, store)
    async with runs.session(ROWS) as session:
        run = session.runs["imaginelab"]
        await run.record(intent())
        await run.record(Created(item=1, at=utc_now(), attempt=1, id="j", credits=None))
        done = Finished(
            item=1, at=utc_now(), id="j", status=GenerationStatus.FAILED, credits=7, refund="none"
        )
        recording = asyncio.ensure_future(run.record(done))
        await asyncio.sleep(0)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
        await session.shards.flush()
        summary, usage = await session.close_books()
    [shard] = session.shards
    true = Bill.of(shard.plan, shard.state).usage(usage.as_of)
    settled = read_settlement(store, "batch")
    assert settled is not None
    assert true.charged == usage.charged == summary.credits.charged == settled.usage.charged == 7


async def test_a_holder_that_another_overtakes_before_its_claim_is_marked(
    sandbox: RunningSandbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(sandbox, store)
    async with runs.session(ROWS) as session:
        await session.runs["imaginelab"].record(intent(), refused())
        await session.close_books()
    assert not read_index(store).active
    opened, overtaken = Journal.open, asyncio.Event()

    async def open_late(*args: Any, **kwargs: Any) -> Journal:
        if not overtaken.is_set():
            overtaken.set()
            async with runs.session(ROWS, create=False, force=True) as other:
                await other.close_books()
        return await opened(*args, **kwargs)

    monkeypatch.setattr(Journal, "open", open_late)
    async with runs.session(ROWS, retry_failed=True) as session:
        await run_session(session)
        assert session.shards.state(1).phase is Phase.STORED
        assert read_index(store).active == {"batch"}


async def test_what_a_damaged_journal_may_have_lost_is_not_settled(
    sandbox: RunningSandbox, store: Store
) -> None:
    runs = Runs(sandbox, store)
    async with runs.session(ROWS) as session:
        run = session.runs["imaginelab"]
        await run.record(intent(), refused())
        await run.record(Retry(item=1, at=utc_now()), intent(2))
        key = segment_key("batch", session.shards.of(1).journal.seq)
    header = (store.read(key) or b"").splitlines(keepends=True)[0]
    store.put(key, header + b"torn\n")
    async with runs.session(ROWS, create=False) as session:
        await session.close_books()
    assert read_settlement(store, "batch") is None
    assert read_index(store).active == {"batch"}
    assert not isinstance(take_stock(store, "batch", FIRST), Settlement)


@pytest.mark.parametrize(("shows", "hours"), [("a clock that is ahead", 10), ("no times", 90 * 24)])
async def test_a_settled_batch_keeps_its_jobs_however_their_times_are_shown(
    world: World, monkeypatch: pytest.MonkeyPatch, shows: str, hours: int
) -> None:
    record = FakeProvider.record

    def told(self: FakeProvider, job: Job, *, correlates: bool) -> Generation:
        at = moment(job.at) + timedelta(hours=14) if shows == "a clock that is ahead" else None
        return record(self, job, correlates=correlates).model_copy(update={"created_at": at})

    monkeypatch.setattr(FakeProvider, "record", told)
    theirs = await world.process(plan_of("a", batch_id="theirs"))
    await theirs.create(1)
    world.time.now += 5
    await theirs.look()
    assert theirs.phases == [Phase.STORED]
    ensure_index(world.store)
    assert isinstance(take_stock(world.store, "theirs", FIRST), Settlement)
    world.time.now += hours * 3600
    ours = await world.process(plan_of("a", batch_id="ours"))
    world.server.fates.extend([LOST_BEFORE])
    await ours.create(1)
    await looked_for(world, ours, reads=10)
    assert ours.journal.state[1].id != "job-1"


async def test_an_item_that_is_in_two_waves_at_once_leaves_no_place_taken(world: World) -> None:
    process = await world.process(shaped("b", "1:1", "2:1"))
    async with asyncio.timeout(10):
        await process.create(1, 1)
        await process.create(2)
    assert len(world.server.jobs) == 2


async def test_a_settlement_of_an_older_version_is_written_again(
    sandbox: RunningSandbox, store: Store
) -> None:
    await Runs(sandbox, store).run(numbered("imaginelab", 3))
    key = settlement_key("batch")
    written = json.loads(store.read(key) or b"")
    older = {name: value for name, value in written.items() if name != "outcomes"}
    store.put(key, json.dumps({**older, "format": 2}).encode())
    assert read_settlement(store, "batch") is None
    found = take_stock(store, "batch", FIRST)
    assert isinstance(found, Settlement)
    assert read_settlement(store, "batch") == found
    [outcomes] = found.outcomes
    assert (outcomes.stored, outcomes.failed, sum(outcomes.seconds)) == (3, {}, 3)
