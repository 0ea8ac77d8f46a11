"""How often, and at what cost, the history is read for lost creates; and whose jobs are left alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from prefect_imagine.batches import echoes
from prefect_imagine.batches.attempts import Finding, OpenAttempt, window_of
from prefect_imagine.batches.echoes import EchoClass
from prefect_imagine.batches.judging import Evidence, judge
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.records import Unknown
from prefect_imagine.batches.state import Phase
from prefect_imagine.providers.clock import utc_now
from prefect_imagine.providers.models import Generation, GenerationStatus
from tests.batches.fake_provider import BEGAN, LOST, LOST_BEFORE, plan_of
from tests.batches.one_process import TIMING, Process
from tests.batches.worlds import World, world

__all__ = ["world"]


def shaped(batch: str, *ratios: str) -> Plan:
    """One prompt in several shapes, which no history tells apart."""
    plan = plan_of(*("a" for _ in ratios), batch_id=batch)
    items = (
        replace(item, request=item.request.model_copy(update={"settings": {"aspect_ratio": ratio}}))
        for item, ratio in zip(plan.items, ratios, strict=True)
    )
    return replace(plan, items=tuple(items))


async def looked_for(world: World, process: Process) -> None:
    """Read the history whenever it is time to, until nothing is open any more."""
    while process.lane.open:
        world.time.now = max(world.time.now, process.next_read)
        await process.look_back()


@pytest.mark.parametrize("correlates", [False, True])
@pytest.mark.parametrize("count", [1, 16])
async def test_lost_creates_cost_few_reads_however_many(world: World, count: int, correlates: bool) -> None:
    plan = plan_of(*(f"picture {number}" for number in range(count)))
    process = await world.process(plan, correlates=correlates)
    world.server.fates.extend([LOST_BEFORE] * count)
    await process.create(*range(1, count + 1))
    begun = world.time.now
    await looked_for(world, process)
    assert set(process.phases) == {Phase.PLANNED}
    assert world.time.now - begun == pytest.approx(TIMING.absent_after)
    assert process.client.requests["history"] <= 5


async def test_creates_lost_one_after_the_other_share_their_reads(world: World) -> None:
    process = await world.process(plan_of(*(f"picture {number}" for number in range(60))))
    world.server.fates.extend([LOST_BEFORE] * 60)
    for index in range(1, 61):
        await process.create(index)
        world.time.now += 1
        if world.time.now >= process.next_read:
            await process.look_back()
    await looked_for(world, process)
    assert set(process.phases) == {Phase.PLANNED}
    assert process.client.requests["history"] <= 30


async def test_a_create_that_arrived_is_found_at_once(world: World) -> None:
    process = await world.process(plan_of("a"))
    world.server.fates.append(LOST)
    await process.create(1)
    assert process.next_read <= world.time.now
    world.time.now += 0.1
    await process.look_back()
    assert process.phases == [Phase.CREATED]
    assert process.client.requests["history"] == 1


async def test_the_job_of_a_neighbours_unknown_item_is_left_to_it(world: World) -> None:
    theirs = await world.process(shaped("theirs", "16:9"))
    world.server.fates.append(LOST)
    await theirs.create(1)
    await theirs.lane.record(Unknown(item=1, at=utc_now(), attempt=1, message="it lagged"))
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
    await process.lane.record(Unknown(item=1, at=utc_now(), attempt=1, message="it lagged"))
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
        OpenAttempt(number, 1, ("image", "ours", f"our picture {number}", None), f"{number}:1", BEGAN, 0.0)
        for number in range(count)
    ]


def judged(count: int, attempts: Sequence[OpenAttempt]) -> list[list[Finding]]:
    evidence = Evidence(
        rows=rows(count),
        window=window_of(attempts, None, 300.0),
        own={},
        taken=set(),
        unsettled={each.echo for each in attempts},
        by_mark=False,
    )
    return judge([[each] for each in attempts], evidence)


def test_rows_are_not_compared_with_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    same = echoes.same

    def counted(row: Generation, echo: EchoClass) -> bool:
        nonlocal compared
        compared += 1
        return same(row, echo)

    monkeypatch.setattr(echoes, "same", counted)
    assert len(judged(3000, open_attempts(16))) == 16
    assert compared <= 3000


async def test_judging_happens_beside_the_event_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect_imagine.batches import settling

    threads = []

    def watched(groups: Sequence[Sequence[OpenAttempt]], evidence: Evidence) -> list[list[Finding]]:
        threads.append(threading.current_thread())
        return judge(groups, evidence)

    monkeypatch.setattr(settling, "judge", watched)
    process = await world.process(plan_of("a"))
    world.server.fates.append(LOST)
    await process.create(1)
    await process.look_back()
    assert threads
    assert threading.main_thread() not in threads
