"""What was in memory before a run is kept from the garbage collector while it lasts, and no longer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import httpx
import pytest

from prefect_imagine.heap import frozen_heap
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store
from tests.engine.engine_runs import Runs, numbered


async def test_the_collector_passes_over_what_was_there_before_a_run(
    sandbox: RunningSandbox, store: Store
) -> None:
    before = gc.get_freeze_count()
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, gc.get_freeze_count())
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await Runs(sandbox, store).run(numbered("aivisualstudio", 3))
    watching.cancel()
    assert most > before + 10_000
    assert gc.get_freeze_count() == before


def test_what_a_full_collection_has_found_in_use_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    with frozen_heap():
        frozen = gc.get_freeze_count()
        used: list[object] = [[] for _ in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() >= frozen + len(used)
    assert gc.get_freeze_count() == before
    gc.collect()
    assert gc.get_freeze_count() == before


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected while this lasts, and what is collected in the end is kept to be looked at."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_answers_and_downloads_leave_the_collector_nothing(
    sandbox: RunningSandbox, store: Store
) -> None:
    await Runs(sandbox, store).run([*numbered("aivisualstudio", 3), *numbered("imaginelab", 3)])
    gc.collect()
    assert not [each for each in gc.garbage if isinstance(each, httpx.Response)]
