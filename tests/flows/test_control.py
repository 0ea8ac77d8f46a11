"""What people do to a flow run in the UI reaches the batch that it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.states import Cancelling, Paused, Running, Suspended

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.errors import BatchIncompleteError
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from prefect_imagine.tasks import control
from tests.books import assert_bill_is_exact, assert_paid_once, manifest
from tests.engine.waiting import until

pytestmark = pytest.mark.long

MANY = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(40)]
LIMIT = {"limit": 4, "window_seconds": 5.0, "headers": True}


@dataclass
class Watched:
    """A run under way, and how to reach it."""

    sandbox: RunningSandbox
    folder: Path
    run_id: UUID
    running: asyncio.Task[Any]
    client: PrefectClient

    @property
    def accepted(self) -> int:
        return sum(self.sandbox.books.accepted.values())

    async def set(self, state: State[Any]) -> None:
        await self.client.set_flow_run_state(self.run_id, state, force=True)

    async def polled(self, times: int) -> None:
        """Wait for so many looks at what is under way."""
        requests = self.sandbox.books.requests["imaginelab"]
        before = requests.total() - requests["create"]
        await until(lambda: requests.total() - requests["create"] >= before + times)

    async def state(self) -> State[Any] | None:
        return (await self.client.read_flow_run(self.run_id)).state

    @property
    def batch_id(self) -> str:
        return batch_in(self.folder)

    async def finish(self) -> None:
        """Go on with the batch, and hold the books against it."""
        self.sandbox.configure(rate_limits={"imaginelab": {**LIMIT, "limit": 10**6}})
        state: State[Any] = await _generate(self.folder)
        assert state.is_completed(), state
        assert_paid_once(self.sandbox, Counter(("imaginelab", prompt.prompt) for prompt in MANY))
        assert_bill_is_exact(open_store(str(self.folder)), self.batch_id, self.sandbox)


def batch_in(folder: Path) -> str:
    """A batch id that no other test of the server has."""
    return f"controlled-{folder.name}"


async def _generate(folder: Path) -> State[Any]:
    options = BatchOptions(batch_id=batch_in(folder))
    state: State[Any] = await generate_batch(MANY, str(folder), options=options, return_state=True)
    return state


@pytest.fixture
async def watched(keys: RunningSandbox, tmp_path: Path, prefect_server: str) -> AsyncIterator[Watched]:
    """A batch of which some jobs are created, and most are not."""
    keys.configure(rate_limits={"imaginelab": LIMIT})
    running = asyncio.create_task(_generate(tmp_path))
    await until(lambda: sum(keys.books.accepted.values()) >= 3)
    async with get_client() as client:
        found = await client.read_flow_runs(limit=200)
        [run] = [run for run in found if run.name == f"generate {batch_in(tmp_path)}"]
        yield Watched(keys, tmp_path, run.id, running, client)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_paused_run_creates_nothing_until_it_is_resumed(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    await watched.set(Paused())
    await until(lambda: "nothing is created until it is resumed" in caplog.text)
    held = watched.accepted + 1  # one may have been on its way
    watched.sandbox.configure(rate_limits={"imaginelab": {**LIMIT, "limit": 10**6}})
    await watched.polled(3)
    assert watched.accepted <= held
    await watched.set(Running())
    assert (await watched.running).is_completed()
    assert_paid_once(watched.sandbox, Counter(("imaginelab", prompt.prompt) for prompt in MANY))


async def test_a_suspended_run_ends_in_order_and_stays_suspended(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    await watched.set(Suspended(timeout_seconds=300))
    with pytest.raises(Pause):
        await watched.running
    state = await watched.state()
    assert state is not None
    assert (state.is_paused(), state.name) == (True, "Suspended")
    assert f"run batch '{watched.batch_id}' again" in caplog.text
    lines = manifest(open_store(str(watched.folder)), watched.batch_id)
    assert Counter(line["status"] != "planned" for line in lines)[True] == watched.accepted < len(MANY)
    await watched.finish()


async def test_a_run_that_is_deleted_stops(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.client.delete_flow_run(watched.run_id)
    await asyncio.gather(watched.running, return_exceptions=True)
    assert watched.accepted < len(MANY)
    assert "the flow run was deleted" in caplog.text
    assert open_store(str(watched.folder)).read(f"{watched.batch_id}/usage.json")
    await watched.finish()


async def test_a_run_that_is_being_cancelled_ends_as_cancelled(watched: Watched) -> None:
    await watched.set(Cancelling())
    ended = await watched.running
    assert ended.is_cancelled(), ended
    error = await ended.result(raise_on_failure=False)
    assert isinstance(error, BatchIncompleteError)
    assert error.summary.items.planned == len(MANY) - watched.accepted
    await watched.finish()


async def test_a_cancelled_run_that_is_told_to_terminate_ends_as_cancelled(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LOOK_SECONDS", 3600.0)  # its worker is faster than its own look
    await watched.set(Cancelling())
    os.kill(os.getpid(), signal.SIGTERM)
    ended = await watched.running
    assert ended.is_cancelled(), ended
    assert "told to terminate" in (ended.message or "")
    assert open_store(str(watched.folder)).read(f"{watched.batch_id}/usage.json")
    await watched.finish()
