"""A bare asyncio and httpx script that makes the calls of AI Visual Studio: what no orchestration costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from boto3.session import Session
from botocore.config import Config

from benchmarks.runs import Job
from benchmarks.wire import Wire, wire_of

AT_ONCE = 16
PAGE = 100
LOOK_SECONDS = 2.0
_Put = Callable[[str, bytes], Awaitable[None]]


async def generate(job: Job) -> tuple[int, dict[str, Any]]:
    """Create everything, look at lists of a hundred, download what has landed."""
    wire = wire_of(job.provider)
    put = _put_into_bucket(job.output) if job.output.startswith("s3://") else _put_into(Path(job.output))
    script = _Script(wire, put)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=32)) as client:
        await script.run(client, list(job.prompts))
    return script.stored, {}


def _put_into(folder: Path) -> _Put:
    folder.mkdir(parents=True, exist_ok=True)

    async def put(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    return put


def _put_into_bucket(address: str) -> _Put:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    client = Session().client("s3", config=Config(max_pool_connections=AT_ONCE))

    async def put(name: str, data: bytes) -> None:
        await asyncio.to_thread(client.put_object, Bucket=bucket, Key=f"{prefix}/{name}", Body=data)

    return put


class _Script:
    def __init__(self, wire: Wire, put: _Put) -> None:
        self._wire, self._put = wire, put
        self._flying: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._downloads = asyncio.Semaphore(AT_ONCE)
        self.stored = 0

    async def run(self, client: httpx.AsyncClient, prompts: list[str]) -> None:
        async with asyncio.TaskGroup() as group:
            creating = group.create_task(self._create_all(client, prompts))
            while not creating.done() or self._flying:
                await asyncio.wait([creating], timeout=LOOK_SECONDS)
                for record in await self._landed(client, everything=creating.done()):
                    group.create_task(self._store(client, record))

    async def _create_all(self, client: httpx.AsyncClient, prompts: list[str]) -> None:
        await asyncio.gather(*(self._create(client, prompt) for prompt in prompts))

    async def _create(self, client: httpx.AsyncClient, prompt: str) -> None:
        async with self._slots:
            url = self._wire.base + self._wire.create
            answer = await client.post(url, headers=self._wire.headers, json=self._wire.body(prompt))
        answer.raise_for_status()
        self._flying.add(self._wire.unwrapped(answer.json())["id"])

    async def _landed(self, client: httpx.AsyncClient, *, everything: bool) -> list[dict[str, Any]]:
        """The records that have ended since the last look, by newest pages while these show any; or by all,
        once nothing comes that would bring older ones to light."""
        landed: list[dict[str, Any]] = []
        offset = 0
        while self._flying:
            query = {"limit": PAGE, "offset": offset}
            url = f"{self._wire.base}/generations"
            answer = await client.get(url, headers=self._wire.headers, params=query)
            shown = answer.json()["data"]
            rows = [row for row in shown if row["id"] in self._flying]
            ended = [row for row in rows if row["status"] == self._wire.done]
            self._flying -= {row["id"] for row in ended}
            landed += ended
            if not (shown if everything else rows):
                break
            offset += PAGE
        return landed

    async def _store(self, client: httpx.AsyncClient, record: dict[str, Any]) -> None:
        async with self._downloads:
            answer = await client.get(self._wire.urls(record)[0])
            answer.raise_for_status()
            await self._put(f"{record['id']}.webp", answer.content)
        self.stored += 1
