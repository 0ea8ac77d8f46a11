"""What happens between two looks, with every step in the test's hands: no server, no waiting.

The provider is in memory; the journal, the stages and the neighbouring batches are the real ones.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.reading import read_journal, segment_key
from prefect_imagine.batches.records import Intent
from prefect_imagine.batches.state import Phase
from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits.pacing import Permit, Priority
from tests.engine.fake_provider import (
    CRASHED,
    LOST,
    LOST_BEFORE,
    SLOWED,
    Crash,
    Fate,
    FreePacer,
    Job,
    late,
    moment,
    plan_of,
)
from tests.engine.one_process import TIMING, Process
from tests.engine.waiting import until
from tests.engine.worlds import World, world

__all__ = ["world"]


def jobs_of(process: Process) -> list[str | None]:
    return [process.journal.state[item.index].id for item in process.items]


async def test_a_lost_answer_is_found_and_not_paid_again(world: World) -> None:
    process = await world.process(plan_of("a", "b"))
    world.server.fates.extend([LOST, LOST_BEFORE])
    await process.create(1, 2)
    assert process.phases == [Phase.OPEN, Phase.OPEN]
    await world.finish(process)
    assert process.phases == [Phase.STORED, Phase.STORED]
    assert world.server.accepted() == {"a": 1, "b": 1}


async def test_absence_is_not_believed_before_a_job_would_be_visible(world: World) -> None:
    process = await world.process(plan_of("a"))
    world.server.fates.append(late(TIMING.create, TIMING.settle * 0.9))
    await process.create(1)
    for _ in range(7):
        world.time.now += 10
        await process.look_back()
        assert process.phases == [Phase.OPEN]
    await world.finish(process)
    assert world.server.accepted() == {"a": 1}


async def test_a_read_that_began_too_early_proves_nothing_however_late_it_ends(world: World) -> None:
    """The provider made the answer up when it was asked; it only took long to arrive."""
    process = await world.process(plan_of("a"))
    world.server.fates.append(late(TIMING.create, TIMING.settle * 0.9))
    await process.create(1)
    world.time.now += 10
    await process.look_back()
    world.time.now += 50

    def arrives_late() -> None:
        world.time.now += 35

    process.client.while_reading = arrives_late
    await process.look_back()
    process.client.while_reading = lambda: None
    await world.finish(process)
    assert world.server.accepted() == {"a": 1}


@pytest.mark.parametrize("page", [1, 2, 100])
async def test_a_job_created_after_the_intent_is_no_anchor_for_who_takes_over(
    world: World, page: int
) -> None:
    """Item 1 was created long after item 2's answer was lost: seeing it says nothing about item 2."""
    world.server.page = page
    plan = plan_of("a", "b")
    process = await world.process(plan)
    world.server.fates.append(LOST)
    await process.create(2)
    world.time.now += 5
    await process.create(1)
    taken_over = await world.process(plan)
    await world.finish(taken_over)
    assert world.server.accepted() == {"a": 1, "b": 1}


@pytest.mark.parametrize("fate", [LOST, LOST_BEFORE], ids=["accepted", "not accepted"])
async def test_a_batch_that_lay_for_a_day_is_resolved_like_any_other(world: World, fate: Fate) -> None:
    """However old an intent is, two reads of a history that covers it settle it."""
    plan = plan_of("a")
    process = await world.process(plan)
    world.server.fates.append(fate)
    await process.create(1)
    world.time.now += 24 * 3600
    taken_over = await world.process(plan)
    await world.finish(taken_over)
    assert taken_over.phases == [Phase.STORED]
    assert world.server.accepted() == {"a": 1}


class SlowPacer(FreePacer):
    """Gives the first permit at once, and the others when told to."""

    def __init__(self) -> None:
        self.more = asyncio.Event()
        self._given = 0

    async def acquire(self, priority: Priority, *, demand: int = 0) -> Permit:
        self._given += 1
        if self._given > 1:
            await self.more.wait()
        return Permit(priority, boot_seconds())


async def test_a_twin_created_while_the_history_is_read_is_not_adopted(world: World) -> None:
    """Its job shows in the history before its own answer is durable."""
    process = await world.process(plan_of("same", "same"))
    pacer = process.client.pacer = SlowPacer()
    world.server.fates.extend([late(1, 5), Fate()])
    accepted, answered = asyncio.Event(), asyncio.Event()

    async def answer_later(job: Job) -> None:
        accepted.set()
        await answered.wait()

    async def twin_is_created() -> None:
        pacer.more.set()
        await accepted.wait()

    process.client.while_answering = answer_later
    process.client.before_page = twin_is_created
    creating_both = asyncio.ensure_future(process.create(1, 2))
    await until(lambda: bool(process.run.queues.open))
    await process.look_back()
    process.client.before_page = lambda: None
    answered.set()
    await creating_both
    await world.finish(process)
    assert world.server.accepted() == {"same": 2}
    assert len(set(jobs_of(process))) == 2, "two items have one job"


@pytest.mark.parametrize("fate", [LOST, Fate()], ids=["lost", "answered"])
async def test_a_neighbours_job_made_while_the_history_is_read_is_not_adopted(
    world: World, fate: Fate
) -> None:
    mine = await world.process(plan_of("same", batch_id="mine"))
    theirs = await world.process(plan_of("same", batch_id="theirs"))
    world.server.fates.append(late(1, 20))
    await mine.create(1)
    world.time.now += 10

    async def neighbour_creates() -> None:
        mine.client.before_page = lambda: None
        world.server.fates.append(fate)
        await theirs.create(1)

    mine.client.before_page = neighbour_creates
    await mine.look_back()
    for _ in range(20):
        await theirs.look_back()
        await mine.look_back()
        world.time.now += 10
    await world.finish(mine)
    await world.finish(theirs)
    assert world.server.accepted() == {"same": 2}
    owned = {*jobs_of(mine), *jobs_of(theirs)} - {None}
    stored = [*mine.phases, *theirs.phases].count(Phase.STORED)
    assert len(owned) == stored, "two batches have one job"


async def test_prompts_that_the_history_cannot_tell_apart_are_one_class(world: World) -> None:
    """Providers may fold white space, so matching does; what is kept apart must then be kept together."""
    process = await world.process(plan_of("two words", "two  words"))
    world.server.fates.append(late(1, 5))
    await process.create(1)
    assert process.creatable() == [], "the second may not be sent while the first is open"


class TestDamagedJournal:
    """What a lost segment may have held is looked for before anything is created."""

    async def test_a_lost_create_is_found(self, world: World) -> None:
        plan = plan_of("a", "b")
        process = await world.process(plan)
        await process.create(1, 2)
        for seq in (2, 3, 4):
            world.store.put(segment_key("b", seq), b"garbage")
        taken_over = await world.process(plan)
        await world.finish(taken_over)
        assert world.server.accepted() == {"a": 1, "b": 1}
        assert taken_over.phases == [Phase.STORED, Phase.STORED]

    async def test_a_lost_create_is_found_by_the_mark_of_any_attempt(self, world: World) -> None:
        plan = plan_of("a")
        process = await world.process(plan, correlates=True)
        world.server.fates.extend([SLOWED, Fate()])
        await process.create(1)
        assert process.journal.state[1].attempt == 2
        for seq in (2, 3, 4, 5):
            world.store.put(segment_key("b", seq), b"garbage")
        taken_over = await world.process(plan, correlates=True)
        await world.finish(taken_over)
        assert world.server.accepted() == {"a": 1}

    @pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
    async def test_a_lost_create_is_found_although_our_clock_is_wrong(self, world: World, hours: int) -> None:
        """The plan's time is this machine's: it must not be held against the provider's."""
        plan = plan_of("a")
        planned_at = moment(boot_seconds()) + timedelta(hours=hours)
        plan = Plan(plan.batch_id, planned_at, plan.items)
        process = await world.process(plan)
        await process.create(1)
        for seq in (2, 3):
            world.store.put(segment_key("b", seq), b"garbage")
        taken_over = await world.process(plan)
        await world.finish(taken_over)
        assert world.server.accepted() == {"a": 1}


async def test_a_long_batch_resumes_from_its_second_snapshot(world: World) -> None:
    """What became durable while the first snapshot was being written is in the second."""
    plan = plan_of(*(f"p{number}" for number in range(6)))
    process = await world.process(plan)
    await process.create(1)
    loop = asyncio.get_running_loop()

    def creates_go_on(key: str) -> None:
        if "snapshots" in key:
            world.store.before = lambda key: None
            asyncio.run_coroutine_threadsafe(process.create(2, 3), loop).result(10)

    world.store.before = creates_go_on
    await process.journal.snapshot(force=True)
    await process.create(4)
    await process.journal.snapshot(force=True)
    taken_over = await world.process(plan)
    await world.finish(taken_over)
    assert set(world.server.accepted().values()) == {1}


async def test_what_a_frozen_process_was_about_to_send_is_not_sent(world: World) -> None:
    plan = plan_of("a")
    process = await world.process(plan)
    go_on = asyncio.Event()

    async def freeze(mark: str, deadline: object) -> None:
        await go_on.wait()

    process.client.while_creating = freeze
    frozen = asyncio.ensure_future(process.create(1))
    await until(lambda: process.phases == [Phase.OPEN])
    taken_over = await world.process(plan)
    await world.finish(taken_over)
    go_on.set()
    with pytest.raises(Exception, match="taken over"):
        await frozen
    assert world.server.accepted() == {"a": 1}
    assert taken_over.phases == [Phase.STORED]


@pytest.mark.parametrize("name", ["same", "other"])
async def test_a_crash_after_acceptance_is_no_reason_to_pay_again(world: World, name: str) -> None:
    plan = plan_of("same", name)
    process = await world.process(plan)
    world.server.fates.extend([CRASHED])
    with pytest.raises(Crash):
        await process.create(1)
    state = read_journal(world.store, "b").state
    assert isinstance(state[1].intent, Intent)
    taken_over = await world.process(plan)
    await world.finish(taken_over)
    assert world.server.accepted().total() == 2
    assert taken_over.phases == [Phase.STORED, Phase.STORED]
