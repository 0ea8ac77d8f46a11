"""What becomes known of jobs by other ways than looks."""

from __future__ import annotations

from prefect_imagine.batches.state import Phase
from tests.engine.fake_provider import plan_of
from tests.engine.one_process import Process
from tests.engine.worlds import World, world

__all__ = ["world"]


async def test_a_shard_is_busy_while_what_has_come_of_it_is_written_down(world: World) -> None:
    """Whoever only collects waits for no job that runs: its shard was left before the record was taken in."""
    process, busy = await _collecting(world)
    await process.take_in({job.id: world.server.record(job, correlates=False) for job in world.server.jobs})
    assert busy == [True]
    assert process.phases == [Phase.FINISHED, Phase.FINISHED]


async def test_so_it_is_while_what_a_look_has_shown_is_written_down(world: World) -> None:
    process, busy = await _collecting(world)
    await process.look()
    assert busy[0]
    assert process.phases == [Phase.STORED, Phase.STORED]


async def _collecting(world: World) -> tuple[Process, list[bool]]:
    """A process that waits for nothing, and whether it was busy with its shard at each write from now on."""
    plan = plan_of("a", "b")
    await (await world.process(plan)).create(1, 2)
    world.time.now += 10
    process = await world.process(plan, collects=True)
    [shard] = process.run.shards
    assert not process.run.busy_with(shard)
    busy: list[bool] = []
    world.store.before = lambda key: busy.append(process.run.busy_with(shard))
    return process, busy
