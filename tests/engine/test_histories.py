"""Histories that do not show everything, or show it oddly: nothing is taken for absent that was accepted."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import pytest

from prefect_imagine.batches.state import Phase
from prefect_imagine.providers.models import Generation, GenerationRequest
from tests.engine.fake_provider import CRASHED, LOST, LOST_BEFORE, PROVIDER, Crash, Fate, Job, plan_of
from tests.engine.one_process import TIMING
from tests.engine.worlds import World, world

__all__ = ["world"]


def stranger(world: World, prompt: str) -> None:
    """Somebody else's job on the same account."""
    world.server.accept(GenerationRequest(provider=PROVIDER, model="m", prompt=prompt), "somebody's")


async def test_one_that_shows_only_what_has_ended(world: World) -> None:
    server = world.server
    server.lasts = 400.0
    listed = server.listed
    server.listed = lambda: [job for job in listed() if server.now() >= job.at + server.lasts]  # type: ignore[method-assign]
    server.fates.extend([Fate(), LOST])
    process = await world.process(plan_of("answered", "lost"))
    await process.create(1)
    await process.create(2)
    await world.finish(process)
    assert server.accepted() == {"answered": 1, "lost": 1}
    assert process.phases[1] is Phase.UNKNOWN


async def test_one_that_forgets_what_is_a_day_old(world: World) -> None:
    server = world.server
    listed = server.listed
    server.listed = lambda: [job for job in listed() if server.now() - job.at < 86400]  # type: ignore[method-assign]
    plan = plan_of("stored", "lost")
    process = await world.process(plan)
    await process.create(1)
    world.time.now += 10
    await process.look()
    server.fates.append(LOST)
    await process.create(2)
    world.time.now += 2 * 86400
    later = await world.process(plan)
    await world.finish(later)
    assert server.accepted() == {"stored": 1, "lost": 1}
    assert later.phases == [Phase.STORED, Phase.UNKNOWN]


@pytest.mark.parametrize("behind", [600, 8 * 3600])
async def test_one_whose_clock_is_behind_on_a_busy_account(world: World, behind: float) -> None:
    """Its first page holds none of our own jobs, which would show the skew."""
    server, record = world.server, world.server.record
    server.page = 20

    def shifted(job: Job, *, correlates: bool) -> Generation:
        row = record(job, correlates=correlates)
        assert row.created_at is not None
        return row.model_copy(update={"created_at": row.created_at - timedelta(seconds=behind)})

    server.record = shifted  # type: ignore[method-assign]
    plan = plan_of("the one")
    process = await world.process(plan)
    server.fates.append(CRASHED)
    with pytest.raises(Crash):
        await process.create(1)
    for number in range(40):
        world.time.now += 3
        stranger(world, f"whale {number}")
    later = await world.process(plan)
    for number in range(25):
        await later.look_back()
        await later.create(*later.creatable())
        world.time.now += 10
        stranger(world, f"teapot {number}")
        await later.look()
    assert server.accepted()["the one"] == 1


async def test_one_in_which_jobs_of_one_second_come_in_any_order(world: World) -> None:
    """A job that is known from before ends a page; the lost one of the same second heads the next."""
    server, record = world.server, world.server.record
    server.page = 2

    def whole_seconds(job: Job, *, correlates: bool) -> Generation:
        row = record(job, correlates=correlates)
        assert row.created_at is not None
        return row.model_copy(update={"created_at": row.created_at.replace(microsecond=0)})

    server.record = whole_seconds  # type: ignore[method-assign]
    server.listed = lambda: sorted(server.jobs, key=lambda job: (-int(job.at), int(job.id[4:])))  # type: ignore[method-assign]
    process = await world.process(plan_of("old", "anchor", "lost"))
    await process.create(1)
    world.time.now += 400
    await process.create(2)
    server.fates.append(LOST)
    await process.create(3)
    world.time.now += 1
    stranger(world, "another")
    await world.finish(process)
    assert server.accepted() == {"old": 1, "anchor": 1, "lost": 1, "another": 1}


async def test_a_provider_that_answers_two_creates_with_one_job_is_paid_for_one(world: World) -> None:
    server, accept = world.server, world.server.accept

    def once(request: GenerationRequest, mark: str, *, after: float = 0.0, lag: float = 0.0) -> Job:
        known = next((job for job in server.jobs if job.request == request), None)
        return known or accept(request, mark, after=after, lag=lag)

    server.accept = once  # type: ignore[method-assign]
    process = await world.process(plan_of("a", "a"))
    await process.create(1, 2)
    await world.finish(process, 8)
    assert sum(len(process.run.state(index).charges) for index in (1, 2)) == 1
    assert process.phases.count(Phase.STORED) == 1


async def test_a_neighbour_that_cannot_be_read_may_have_created_what_is_shown(world: World) -> None:
    """Such as a batch of a newer version's."""
    theirs = await world.process(plan_of("a", batch_id="newer"))
    await theirs.create(1)
    data = world.store.read("newer/plan.jsonl")
    assert data is not None
    world.store.put("newer/plan.jsonl", data.replace(b'"format":1', b'"format":2'))
    world.server.fates.append(LOST_BEFORE)
    process = await world.process(plan_of("a"))
    await process.create(1)
    await world.finish(process)
    assert process.phases == [Phase.UNKNOWN]
    assert world.server.accepted() == {"a": 1}


async def test_a_record_that_lags_has_not_vanished(world: World) -> None:
    process = await world.process(plan_of("a"))
    poll = process.client.poll

    async def lagging(ids: Collection[str]) -> dict[str, Generation]:
        found = await poll(ids)
        return found if world.time.now > begun + 0.8 * TIMING.settle else {}

    process.client.poll = lagging  # type: ignore[method-assign]
    await process.create(1)
    begun = world.time.now
    while world.time.now < begun + TIMING.settle:
        world.time.now += 2
        await process.look()
    assert process.run.state(1).reason is None
    assert process.phases == [Phase.STORED]


async def test_costs_that_are_never_told_are_not_asked_for_of_each_job(world: World) -> None:
    server, record = world.server, world.server.record

    def silent(job: Job, *, correlates: bool) -> Generation:
        return record(job, correlates=correlates).model_copy(update={"credits": None})

    server.record = silent  # type: ignore[method-assign]
    process = await world.process(plan_of(*(f"picture {number}" for number in range(20))))
    fetch, fetched = process.client.fetch, []

    async def counted(generation_id: str) -> Generation:
        fetched.append(generation_id)
        return await fetch(generation_id)

    process.client.fetch = counted  # type: ignore[method-assign]
    await process.create(*range(1, 21))
    world.time.now += 10
    await process.look()
    assert set(process.phases) == {Phase.STORED}
    assert len(fetched) == 3
