"""A run under way whose flow run somebody touches, and how to reach it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import State

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from tests.books import assert_bill_is_exact, assert_paid_once
from tests.engine.waiting import until

MANY = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(80)]
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
    return f"controlled-{folder.name}-{sha256(bytes(folder)).hexdigest()[:8]}"


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
        named = FlowRunFilter(name=FlowRunFilterName(any_=[f"generate {batch_in(tmp_path)}"]))
        [run] = await client.read_flow_runs(flow_run_filter=named)
        yield Watched(keys, tmp_path, run.id, running, client)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
