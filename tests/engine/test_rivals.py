"""Whose a job is that several processes may have created: the first to claim it has it, once no answer to the
others' creates may still come."""

from __future__ import annotations

from datetime import timedelta

import pytest

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.records import Intent, Unknown
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.batches.state import Phase
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.history.claims import CLAIMS, claim_job
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.rivals import OpenCreate, rivals_of
from tests.engine.fake_provider import (
    BEGAN,
    CRASHED_BEFORE,
    LOST,
    LOST_BEFORE,
    PROVIDER,
    Crash,
    FakeClock,
    moment,
    plan_of,
)
from tests.engine.one_process import TIMING, Process
from tests.engine.worlds import World, world

__all__ = ["world"]

MINE, THEIRS = plan_of("same", batch_id="mine"), plan_of("same", batch_id="theirs")
SHARDS = plan_of("same"), plan_of("same", shard=2, first=2)
LONGEST = TIMING.deadline + TIMING.create


async def looked_for(world: World, *processes: Process, reads: int = 20) -> None:
    """Each reads the history whenever it is time to, until nothing is open any more."""
    for _ in range(reads):
        due = [each.next_read for each in processes if each.run.queues.open]
        if not due:
            return
        world.time.now = max(world.time.now, min(due))
        for each in processes:
            if each.run.queues.open and each.next_read <= world.time.now:
                await each.look_back()


async def asked(process: Process, world: World) -> None:
    """Say that a create is about to be sent, as one that is under way has said."""
    [item] = process.items
    at = FakeClock().now()
    await process.run.record(
        Intent(item=item.index, at=at, attempt=1, provider_at=at, boot="", boot_at=world.time.now)
    )


@pytest.mark.parametrize("plans", [(MINE, THEIRS), SHARDS], ids=["two batches", "two shards"])
async def test_lost_answers_to_one_prompt_are_shared_out(world: World, plans: tuple[Plan, Plan]) -> None:
    one, other = [await world.process(plan) for plan in plans]
    world.server.fates.extend([LOST, LOST])
    await one.create(one.items[0].index)
    await other.create(other.items[0].index)
    await looked_for(world, one, other)
    assert one.phases == other.phases == [Phase.CREATED]
    assert {*one.run.jobs.order, *other.run.jobs.order} == {"job-1", "job-2"}
    assert len(list(world.store.list(CLAIMS))) == 2


async def test_who_finds_no_job_left_creates_again(world: World) -> None:
    one, other = [await world.process(plan) for plan in SHARDS]
    world.server.fates.extend([LOST_BEFORE, LOST])
    await one.create(1)
    await other.create(2)
    await looked_for(world, one, other)
    assert sorted([*one.phases, *other.phases]) == [Phase.CREATED, Phase.PLANNED]
    for each in (one, other):
        await each.create(*each.creatable())
    assert one.phases == other.phases == [Phase.CREATED]
    assert len(world.server.jobs) == 2


async def test_the_job_of_a_create_that_may_still_be_answered_is_left_to_it(world: World) -> None:
    mine, theirs = await world.process(MINE), await world.process(THEIRS)
    world.server.fates.append(LOST_BEFORE)
    await mine.create(1)
    looks = 0

    async def look() -> None:
        nonlocal looks
        for _ in range(3):
            world.time.now = max(world.time.now, mine.next_read)
            await mine.look_back()
            looks += 1

    theirs.client.while_answering = lambda _: look()
    await theirs.create(1)
    assert (theirs.phases, looks) == ([Phase.FINISHED], 3)
    assert mine.phases == [Phase.OPEN], "it waits as long as theirs may be answered"
    assert theirs.run.jobs.order.keys() == {"job-1"}
    await looked_for(world, mine)
    assert mine.phases == [Phase.PLANNED]


async def test_whose_process_is_dead_is_not_waited_for(world: World) -> None:
    mine, theirs = await world.process(MINE), await world.process(THEIRS)
    await asked(theirs, world)
    world.server.accept(THEIRS.items[0].request, f"{THEIRS.items[0].item_id}:1")
    world.server.fates.append(LOST_BEFORE)
    await mine.create(1)
    begun = world.time.now
    await looked_for(world, mine, reads=60)
    assert mine.phases == [Phase.UNKNOWN]
    assert LONGEST < world.time.now - begun < LONGEST + 5 * TIMING.absent_after


async def test_those_who_ask_for_the_same_on_and_on_are_not_waited_for_without_end(world: World) -> None:
    mine = await world.process(MINE)
    theirs = await world.process(plan_of(*["same"] * 40, batch_id="theirs"))
    world.server.fates.append(LOST)
    await mine.create(1)
    begun, reads = world.time.now, 0
    for item in theirs.items:
        if mine.phases != [Phase.OPEN]:
            break
        world.time.now = max(world.time.now, mine.next_read)
        at = FakeClock().now()
        await theirs.run.record(
            Intent(item=item.index, at=at, attempt=1, provider_at=at, boot="", boot_at=world.time.now)
        )
        await mine.look_back()
        reads += 1
    assert mine.phases == [Phase.UNKNOWN]
    assert 3600 < world.time.now - begun < 7200
    assert reads < 32


async def test_who_has_given_up_and_looks_again_finds_it_too(world: World) -> None:
    world.server.fates.extend([LOST, LOST])
    for plan in (MINE, THEIRS):
        process = await world.process(plan)
        await process.create(1)
        await process.run.record(Unknown(item=1, at=utc_now(), attempt=1, message="it lagged"))
    for plan in (MINE, THEIRS):
        process = await world.process(plan, collects=True)
        await looked_for(world, process)
        assert process.phases == [Phase.CREATED]


async def test_what_turns_out_absent_tells_nothing_of_the_doubt_any_more(world: World) -> None:
    process = await world.process(plan_of("other", "same", batch_id="mine"))
    await process.create(1)
    world.server.fates.append(LOST_BEFORE)
    await process.create(2)
    await process.run.record(Unknown(item=2, at=utc_now(), attempt=1, message="who knows"))
    again = await world.process(plan_of("other", "same", batch_id="mine"), collects=True)
    world.time.now += TIMING.settle  # the history has to show the other one by now
    await looked_for(world, again)
    state = again.run.state(2)
    assert (state.phase, state.reason, state.error) == (Phase.PLANNED, None, None)


async def test_a_job_that_another_claims_meanwhile_is_its(world: World) -> None:
    one, other = [await world.process(plan) for plan in SHARDS]
    world.server.fates.extend([LOST, LOST])
    await one.create(1)
    await other.create(2)
    await other.look_back()  # so it says that no answer is taken any more
    world.time.now += 1

    def claim(key: str) -> None:
        if key.startswith(CLAIMS):
            world.store.before = lambda _: None
            assert claim_job(world.store, PROVIDER, "job-1", shard_path("b", 2))

    world.store.before = claim
    await one.look_back()
    assert one.run.jobs.order.keys() == {"job-2"}
    await looked_for(world, other)
    assert other.run.jobs.order.keys() == {"job-1"}


async def test_whoever_died_between_claim_and_journal_goes_on_with_it(world: World) -> None:
    one = await world.process(SHARDS[0])
    world.server.fates.append(LOST)
    await one.create(1)
    assert claim_job(world.store, PROVIDER, "job-1", shard_path("b", 1))
    other = await world.process(SHARDS[1])
    world.server.fates.append(LOST_BEFORE)
    await other.create(2)
    await looked_for(world, other)
    assert other.phases == [Phase.UNKNOWN], "nobody but the other can say whether it has the job"
    again = await world.process(SHARDS[0])
    await looked_for(world, again)
    assert again.run.jobs.order.keys() == {"job-1"}


async def test_what_was_asked_for_long_before_holds_up_nobody(world: World) -> None:
    theirs = await world.process(THEIRS)
    world.server.fates.append(CRASHED_BEFORE)
    with pytest.raises(Crash):
        await theirs.create(1)
    mine = await world.process(plan_of("other", "same", batch_id="mine"))
    world.time.now += 24 * 3600
    await mine.create(1)  # by it the records' clock is known
    world.server.fates.append(LOST)
    await mine.create(2)
    await looked_for(world, mine)
    assert mine.phases == [Phase.CREATED, Phase.CREATED]


def create(at: float | None, *, fingerprint: str = "f", awaited: bool = False) -> OpenCreate:
    identity = RequestIdentity("image", "m", "same", None)
    return OpenCreate(identity, fingerprint, None if at is None else moment(at), awaited)


def test_those_alike_are_counted_and_hold_up_nobody() -> None:
    found = rivals_of({"f"}, [create(1), create(2), create(None)], BEGAN, complete=True)
    assert (found.alike, found.contest) == (3, False)


def test_one_of_another_shape_or_one_that_nobody_can_read_is_a_contest() -> None:
    assert rivals_of({"f"}, [create(1, fingerprint="g")], BEGAN, complete=True).contest
    assert rivals_of({"f"}, [], BEGAN, complete=False).contest


def test_the_last_that_may_be_answered_tells_how_long_to_wait() -> None:
    creates = [create(3, awaited=True), create(9, awaited=True), create(5)]
    found = rivals_of({"f"}, creates, BEGAN, complete=True)
    assert (found.awaited, found.alike, found.contest) == (moment(9), 1, True)
    assert rivals_of({"f"}, creates, moment(9) + timedelta(seconds=1), complete=True).awaited is None
