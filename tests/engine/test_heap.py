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
            await asyncio.sleep(0.01)  # counting takes milliseconds, in which nothing else runs

    watching = asyncio.create_task(watch())
    await Runs(sandbox, store).run(numbered("aivisualstudio", 3))
    watching.cancel()
    assert most > before + 10_000
    assert gc.get_freeze_count() == before


def looked_at(those: list[object]) -> int:
    """How many of these the collector would go through."""
    return len({id(each) for each in those} & {id(each) for each in gc.get_objects()})


@pytest.fixture
def by_hand() -> Iterator[None]:
    """Nothing is collected but where the test says so."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("by_hand")
def test_what_a_full_collection_has_found_in_use_is_not_looked_at_again() -> None:
    with frozen_heap():
        used: list[object] = [[] for _ in range(100)]
        assert looked_at(used) == 100
        gc.collect()
        assert looked_at(used) == 0
        later: list[object] = [[]]
        assert looked_at(later) == 1
    assert looked_at([*used, *later]) == 101
    gc.collect()
    assert looked_at([*used, *later]) == 101


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
