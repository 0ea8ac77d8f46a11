"""What a Prefect user writes from the pages' own example: a task a step with retries, a poll every 2 s.

Kept as good as such a flow gets: 32 pictures at once, a shared connection pool, retries with growing
delays that outlast a refusal by the limit. A create without an answer is repeated, and may be paid twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, task

from benchmarks.runs import Job
from benchmarks.wire import Wire, wire_of

WORKERS = 32
POLL_SECONDS = 2.0
STEP: dict[str, Any] = {
    "retries": 12,
    "retry_delay_seconds": [2, 4, 8, *[10] * 9],
    "retry_jitter_factor": 0.5,
    "persist_result": False,
}


class _Gone(Exception):
    """A generation failed."""


async def generate(job: Job) -> tuple[int, dict[str, Any]]:
    """Run the flow."""
    wire = wire_of(job.provider)
    async with httpx.AsyncClient(timeout=30) as client:
        stored = await generate_pictures(_Calls(wire, client), list(job.prompts), Path(job.output))
    return stored, {}


class _Calls:
    def __init__(self, wire: Wire, client: httpx.AsyncClient) -> None:
        self.wire, self.client = wire, client

    async def create(self, prompt: str) -> str:
        url = self.wire.base + self.wire.create
        answer = await self.client.post(url, headers=self.wire.headers, json=self.wire.body(prompt))
        answer.raise_for_status()
        return str(self.wire.unwrapped(answer.json())["id"])

    async def look(self, generation: str) -> dict[str, Any]:
        url = self.wire.base + self.wire.record.format(id=generation)
        answer = await self.client.get(url, headers=self.wire.headers)
        answer.raise_for_status()
        return self.wire.unwrapped(answer.json())


@task(**STEP)
async def create(calls: _Calls, prompt: str) -> str:
    return await calls.create(prompt)


@task(**STEP)
async def wait_for(calls: _Calls, generation: str) -> list[str]:
    while True:
        record = await calls.look(generation)
        if record["status"] == calls.wire.done:
            return calls.wire.urls(record)
        if record["status"] in calls.wire.failed:
            raise _Gone(generation)
        await asyncio.sleep(POLL_SECONDS)


@task(**STEP)
async def download(calls: _Calls, url: str) -> bytes:
    headers = calls.wire.headers if url.startswith(calls.wire.base) else {}
    answer = await calls.client.get(url, headers=headers)
    answer.raise_for_status()
    return answer.content


@task(**STEP)
def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@flow(name="naive", persist_result=False, validate_parameters=False)
async def generate_pictures(calls: _Calls, prompts: list[str], folder: Path) -> int:
    slots = asyncio.Semaphore(WORKERS)

    async def one(prompt: str) -> None:
        async with slots:
            generation = await create(calls, prompt)
            for number, url in enumerate(await wait_for(calls, generation)):
                put(folder / f"{generation}-{number}", await download(calls, url))

    done = await asyncio.gather(*(one(prompt) for prompt in prompts), return_exceptions=True)
    return sum(each is None for each in done)
