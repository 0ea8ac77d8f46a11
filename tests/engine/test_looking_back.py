"""How often, and at what cost, the history is read for lost creates; and whose jobs are left alone."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.records import Unknown
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.history import identity as identities
from prefect_imagine.engine.history.attempts import Finding, OpenAttempt, window_of
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.judgement import Evidence, judge
from prefect_imagine.engine.stages.create import FAILURES_IN_A_ROW
from prefect_imagine.providers.models import Generation, GenerationStatus
from tests.engine.fake_provider import BEGAN, LOST, LOST_BEFORE, REFUSED, plan_of
from tests.engine.one_process import TIMING, Process
from tests.engine.waiting import until
from tests.engine.worlds import World, world

__all__ = ["world"]


def shaped(batch: str, *ratios: str) -> Plan:
    """One prompt in several shapes, which no history tells apart."""
    plan = plan_of(*("a" for _ in ratios), batch_id=batch)
    items = (
        replace(item, request=item.request.model_copy(update={"settings": {"aspect_ratio": ratio}}))
        for item, ratio in zip(plan.items, ratios, strict=True)
    )
    return replace(plan, items=tuple(items))


async def looked_for(world: World, process: Process, reads: int = 100) -> None:
    """Read the history whenever it is time to, until nothing is open any more."""
    for _ in range(reads):
        if not process.run.queues.open:
            return
        world.time.now = max(world.time.now, process.next_read)
        await process.look_back()


@pytest.mark.parametrize("correlates", [False, True])
@pytest.mark.parametrize("count", [1, 16])
async def test_lost_creates_cost_few_reads_however_many(world: World, count: int, correlates: bool) -> None:
    plan = plan_of("shows that the history shows ours", *(f"picture {number}" for number in range(count)))
    process = await world.process(plan, correlates=correlates)
    await process.create(1)
    world.server.fates.extend([LOST_BEFORE] * count)
    await process.create(*range(2, count + 2))
    begun = world.time.now
    await looked_for(world, process)
    assert process.phases == [Phase.CREATED, *[Phase.PLANNED] * count]
    assert world.time.now - begun == pytest.approx(TIMING.absent_after)
    assert process.client.requests["history"] <= 5


async def test_creates_lost_one_after_the_other_share_their_reads(world: World) -> None:
    process = await world.process(plan_of("shown", *(f"picture {number}" for number in range(60))))
    await process.create(1)
    world.server.fates.extend([LOST_BEFORE] * 60)
    for index in range(2, 62):
        await process.create(index)
        world.time.now += 1
        if world.time.now >= process.next_read:
            await process.look_back()
    await looked_for(world, process)
    assert process.phases == [Phase.CREATED, *[Phase.PLANNED] * 60]
    assert process.client.requests["history"] <= 30


async def test_while_no_job_of_ours_has_shown_one_create_is_sent_again_to_see_whether_it_does(
    world: World,
) -> None:
    process = await world.process(plan_of("a", "b", "c"))
    world.server.fates.extend([LOST_BEFORE] * 3)
    await process.create(1, 2, 3)
    await looked_for(world, process, reads=10)
    assert sorted(process.phases) == [Phase.OPEN, Phase.OPEN, Phase.PLANNED]
    await process.create(*process.creatable())
    await looked_for(world, process)
    assert sorted(process.phases) == [Phase.CREATED, Phase.PLANNED, Phase.PLANNED]
    await process.create(*process.creatable())
    assert world.server.accepted() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("shows", ["what has ended", "nothing"])
async def test_a_history_that_hides_what_is_under_way_costs_one_job_at_most(world: World, shows: str) -> None:
    world.server.lasts = 600.0
    world.server.shown_after = 600.0 if shows == "what has ended" else math.inf
    process = await world.process(plan_of(*"abcdef"))
    world.server.fates.extend([LOST] * 6)
    await process.create(*range(1, 7))
    await looked_for(world, process, reads=10)
    await process.create(*process.creatable())
    await looked_for(world, process)
    assert sorted(process.phases) == [Phase.CREATED, *[Phase.UNKNOWN] * 5]
    assert len(world.server.jobs) == 7


@pytest.mark.parametrize("count", [2, 5])
async def test_of_identical_prompts_too_one_create_is_sent_again(world: World, count: int) -> None:
    process = await world.process(plan_of(*["a"] * count))
    world.server.fates.extend([LOST_BEFORE] * count)
    await process.create(*range(1, count + 1))
    await looked_for(world, process, reads=10)
    [probe] = process.run.queues.to_create
    assert process.run.admission.acquire(process.run.shards.item(probe))
    process.run.admission.release(process.run.shards.item(probe))
    await process.create(probe)
    await looked_for(world, process)
    assert sorted(process.phases) == [Phase.CREATED, *[Phase.PLANNED] * (count - 1)]
    await process.create(*process.creatable())
    assert world.server.accepted() == {"a": count}


async def test_a_probe_does_not_pass_an_open_create_of_another_shape(world: World) -> None:
    process = await world.process(shaped("b", "16:9", "1:1"))
    world.server.fates.append(LOST_BEFORE)
    await process.create(2)
    process.run.admission.probe = 1
    assert not process.run.admission.acquire(process.run.shards.item(1))


async def test_an_id_that_another_batch_had_before_the_provider_began_anew_is_doubted(world: World) -> None:
    theirs = await world.process(plan_of("a", batch_id="theirs"))
    await theirs.create(1)
    world.server.begin_anew()
    world.time.now += 3600
    mine = await world.process(plan_of("a", batch_id="mine"))
    world.server.fates.append(LOST)
    await mine.create(1)
    assert [job.id for job in world.server.jobs] == ["job-1"]
    await looked_for(world, mine)
    assert mine.phases == [Phase.UNKNOWN]


async def test_a_probe_that_is_lost_too_is_the_one_that_is_sent_again(world: World) -> None:
    process = await world.process(plan_of("a", "b"))
    world.server.fates.extend([LOST_BEFORE] * 4)
    await process.create(1, 2)
    for _ in range(2):
        await looked_for(world, process, reads=10)
        [probe] = process.creatable()
        assert probe == 1
        await process.create(probe)
    await looked_for(world, process, reads=10)
    assert process.phases == [Phase.PLANNED, Phase.OPEN]


async def test_a_probe_that_is_refused_makes_room_for_the_next(world: World) -> None:
    process = await world.process(plan_of("a", "b"))
    world.server.fates.extend([LOST_BEFORE, LOST_BEFORE, REFUSED])
    await process.create(1, 2)
    await looked_for(world, process, reads=10)
    await process.create(*process.creatable())
    await looked_for(world, process)
    assert process.phases == [Phase.FAILED, Phase.PLANNED]


async def test_a_run_that_creates_nothing_more_leaves_open_what_nothing_proves(world: World) -> None:
    process = await world.process(plan_of("a", "b"))
    world.server.fates.extend([LOST_BEFORE, LOST_BEFORE])
    await process.create(1, 2)
    process.run.halt(StopReason.BUDGET, "the budget is spent")
    await looked_for(world, process)
    assert process.phases == [Phase.OPEN, Phase.OPEN]
    assert process.run.finished


async def test_a_create_that_arrived_is_found_at_once(world: World) -> None:
    process = await world.process(plan_of("a"))
    world.server.fates.append(LOST)
    await process.create(1)
    assert process.next_read <= world.time.now
    world.time.now += 0.1
    await process.look_back()
    assert process.phases == [Phase.CREATED]
    assert process.client.requests["history"] == 1


async def test_what_was_lost_is_looked_for_while_the_next_create_waits(world: World) -> None:
    process = await world.process(plan_of("a", "b", "c", "d", "e"))
    process.run.pauses = Pauses(after_failure=lambda attempt: 3600.0)
    world.server.fates.extend([LOST] * FAILURES_IN_A_ROW)
    creating = asyncio.create_task(process.create(*range(1, FAILURES_IN_A_ROW + 1)))
    await until(lambda: len(process.run.queues.open) == FAILURES_IN_A_ROW)
    await until(lambda: not process.run.admission.sending)
    world.time.now += 0.1
    await process.look_back()
    assert process.phases == [Phase.CREATED] * FAILURES_IN_A_ROW
    assert not creating.done(), "no other create would be sent yet"
    pausing = [creating, *process.run.sends]
    for task in pausing:
        task.cancel()
    await asyncio.gather(*pausing, return_exceptions=True)


async def test_the_job_of_a_neighbours_unknown_item_is_left_to_it(world: World) -> None:
    theirs = await world.process(shaped("theirs", "16:9"))
    world.server.fates.append(LOST)
    await theirs.create(1)
    await theirs.run.record(Unknown(item=1, at=utc_now(), attempt=1, message="it lagged"))
    world.time.now += 60
    mine = await world.process(shaped("mine", "1:1"))
    world.server.fates.append(LOST_BEFORE)
    await mine.create(1)
    await looked_for(world, mine)
    assert mine.phases == [Phase.UNKNOWN]
    assert len(world.server.jobs) == 1


async def test_nor_is_the_job_of_an_unknown_item_of_another_shape_in_the_same_batch(world: World) -> None:
    process = await world.process(shaped("b", "16:9", "1:1"))
    world.server.fates.append(LOST)
    await process.create(1)
    await process.run.record(Unknown(item=1, at=utc_now(), attempt=1, message="it lagged"))
    world.server.fates.append(LOST_BEFORE)
    await process.create(2)
    await looked_for(world, process)
    assert process.phases == [Phase.UNKNOWN, Phase.UNKNOWN]


def rows(count: int) -> list[Generation]:
    """Somebody else's jobs, of prompts that are long and much alike."""
    return [
        Generation(
            provider="p",
            id=f"job-{number}",
            status=GenerationStatus.SUCCEEDED,
            model="theirs",
            prompt=f"{number} portrait of an old fisherman mending nets in a harbour, soft light, grain",
            created_at=BEGAN,
        )
        for number in range(count)
    ]


def open_attempts(count: int) -> list[OpenAttempt]:
    """Creates of which nothing is known."""
    return [
        OpenAttempt(
            number,
            1,
            RequestIdentity("image", "ours", f"our picture {number}", None),
            f"{number}:1",
            BEGAN,
            0.0,
        )
        for number in range(count)
    ]


def judged(count: int, attempts: Sequence[OpenAttempt]) -> list[list[Finding]]:
    evidence = Evidence(
        rows=rows(count),
        window=window_of(attempts, None, 300.0),
        own={},
        taken=set(),
        unsettled={each.identity for each in attempts},
        by_mark=False,
    )
    return judge([[each] for each in attempts], evidence)


def test_rows_are_not_compared_with_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    same = identities.same

    def counted(row: Generation, identity: RequestIdentity) -> bool:
        nonlocal compared
        compared += 1
        return same(row, identity)

    monkeypatch.setattr(identities, "same", counted)
    assert len(judged(3000, open_attempts(16))) == 16
    assert compared <= 3000


async def test_judging_happens_beside_the_event_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect_imagine.engine.stages import reconcile

    threads = []

    def watched(groups: Sequence[Sequence[OpenAttempt]], evidence: Evidence) -> list[list[Finding]]:
        threads.append(threading.current_thread())
        return judge(groups, evidence)

    monkeypatch.setattr(reconcile, "judge", watched)
    process = await world.process(plan_of("a"))
    world.server.fates.append(LOST)
    await process.create(1)
    await process.look_back()
    assert threads
    assert threading.main_thread() not in threads
