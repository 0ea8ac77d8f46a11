"""Jobs that take longer than a run waits for them."""

from __future__ import annotations

from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.state import Phase
from prefect_imagine.engine.stages.poll import OVERDUE_SECONDS
from tests.engine.fake_provider import plan_of
from tests.engine.one_process import TIMING
from tests.engine.worlds import World, world

__all__ = ["world"]


async def test_a_job_that_has_landed_is_not_overdue_as_well(world: World) -> None:
    """Such as after a machine has slept."""
    process = await world.process(plan_of("a"))
    await process.create(1)
    world.time.now += 3 * 3600
    await process.look()
    lines = [data.decode() for key, (data, *_) in world.store.files.items() if "/journal/" in key]
    assert '"timeout"' not in "".join(lines)
    assert process.phases == [Phase.STORED]
    assert read_journal(world.store, "b").state[1].reason is None


async def test_a_job_that_ends_too_late_is_stored_while_the_run_follows_others(world: World) -> None:
    world.server.lasts = TIMING.longest_job + 30
    process = await world.process(plan_of("slow", "other"))
    await process.create(1)
    world.time.now += TIMING.longest_job + 1
    await process.create(2)
    await process.look()
    assert process.run.state(1).reason == "timeout"
    assert list(process.run.queues.running) == [process.run.state(2).id]
    world.time.now += max(30.0, OVERDUE_SECONDS)
    await process.look()
    assert process.phases == [Phase.STORED, Phase.CREATED]
    assert process.run.queues.overdue == {}


async def test_a_job_that_ends_too_late_holds_no_run_and_is_followed_by_the_next(world: World) -> None:
    world.server.lasts = TIMING.longest_job + 30
    plan = plan_of("slow")
    process = await world.process(plan)
    await process.create(1)
    world.time.now += TIMING.longest_job + 1
    await process.look()
    assert process.run.finished
    world.time.now += 60
    later = await world.process(plan)
    await later.look()
    assert later.phases == [Phase.STORED]
