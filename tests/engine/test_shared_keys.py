"""Machines that create with one key at the same time, and divide its limit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.sandbox import RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import HURRIED, Runs, numbered
from tests.engine.waiting import until

KEEN = replace(HURRIED, between_signs=0.1)


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    limit = RateLimit(limit=60, window_seconds=6.0, headers=True)
    sandbox.configure(rate_limits={"aivisualstudio": limit, "imaginelab": RateLimit()})
    return Runs(sandbox, open_store(str(tmp_path / "root")), KEEN)


def signs(runs: Runs) -> list[str]:
    """The machines that have given a sign of life and not taken it back."""
    return [found.key for found in runs.store.list(".imagine/users/")]


async def test_machines_that_run_at_once_divide_the_limit(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        machines = []
        for name in "ab":
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
            session = await stack.enter_async_context(
                runs.session(numbered("aivisualstudio", 60), batch=name)
            )
            machines.append((session, asyncio.create_task(run_session(session))))
        pacers = [session.clients["aivisualstudio"].pacer for session, _ in machines]
        await until(lambda: [pacer.machines for pacer in pacers] == [2, 2])
        assert len(signs(runs)) == 2
        await asyncio.gather(*(running for _, running in machines))
        for session, _ in machines:
            await session.close_books()
        assert [pacer.machines for pacer in pacers] == [1, 1]
    assert signs(runs) == []
    runs.check()


async def test_processes_of_one_machine_are_one(runs: Runs) -> None:
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(runs.session(numbered("aivisualstudio", 40), batch=name))
            for name in "ab"
        ]
        running = asyncio.gather(*map(run_session, sessions))
        await until(lambda: bool(signs(runs)))
        pacers = [session.clients["aivisualstudio"].pacer for session in sessions]
        assert pacers[0].machine == pacers[1].machine
        await running
        for session in sessions:
            assert session.clients["aivisualstudio"].pacer.machines == 1
            await session.close_books()
    runs.check()


async def test_where_no_limit_can_be_divided_nobody_gives_a_sign(runs: Runs) -> None:
    async with runs.session(numbered("imaginelab", 20)) as session:
        running = asyncio.create_task(run_session(session))
        while not running.done():
            assert signs(runs) == []
            await asyncio.sleep(0.05)
        await running
        await session.close_books()
    runs.check()
