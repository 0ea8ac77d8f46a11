"""One batch through the stack, and what it took."""

from __future__ import annotations

import csv
import json
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.stack.api import LOOK_SECONDS
from benchmarks.stack.outside import BUCKET
from benchmarks.stack.recorded import Recorded, recorded
from benchmarks.stack.stack import Stack
from prefect_imagine.stores import open_store

DEPLOYMENT = "generate-batch/generate-batch"
PROVIDER = "aivisualstudio"
BATCH = "fleet"
MEGABYTE = 1_000_000
WINDOW = 10.0
"""Seconds of the key's windows: a sixth of what the provider has, so that a batch sees several."""
SECONDS = 600.0
SECONDS_AN_IMAGE = 1.0
_NO_REQUESTS = ("rate_limited", "media")


@dataclass(frozen=True)
class Figures:
    """What a batch took.

    Attributes:
        state: the name and the message of the state of the run that handed the batch over.
        held: for how many seconds that run has held a worker.
        seconds: from the call that started it until the books were closed.
        created: when creates were accepted, in order, in seconds since the epoch.
        requests: what the provider counted by operation: API requests, `rate_limited` (answers 429 among
            them), and downloads (`media`), which are none.
        handing_over: the most resident bytes of the run that handed the batch over.
        shard: the most of a run of a shard, beside the worker that started it.
        worker: the most of a worker, beside its run.
        recorded: what Prefect knows of all task runs by then.
    """

    completed: bool
    state: str
    held: float
    seconds: float
    created: tuple[float, ...]
    stored: int
    requests: dict[str, int]
    handing_over: int
    shard: int
    worker: int
    recorded: Recorded

    @property
    def creating(self) -> float:
        """From the first create that was accepted to the last, in seconds."""
        return self.created[-1] - self.created[0] if self.created else 0.0

    def limit_used(self, limit: int, seconds: float) -> float:
        """Requests over those that the limit allows, in that span of the creates which has the fewest of all
        that are as long: as many windows as went by. So it does not matter when these opened, and that a
        part of one allows as many as a whole. Requests other than creates are taken to be spread like these.
        """
        windows = int(self.creating // seconds)
        if windows == 0:
            return math.nan
        span, last = windows * seconds, self.created[-1]
        fewest = min(
            bisect_left(self.created, at + span) - number
            for number, at in enumerate(self.created, start=1)
            if at + span <= last
        )
        return fewest * self.requests_a_generation / (limit * windows)

    @property
    def sent(self) -> dict[str, int]:
        """API requests by operation."""
        return {name: count for name, count in self.requests.items() if name not in _NO_REQUESTS and count}

    @property
    def requests_a_generation(self) -> float:
        """API requests for each that is stored."""
        return sum(self.sent.values()) / max(1, self.stored)

    def lines(self) -> list[str]:
        """For a person."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.sent.items())
        return [
            f"{self.state}, after {self.held:.1f} s",
            f"books closed            after {self.seconds:.1f} s, of which {self.creating:.1f} s creating",
            f"items stored            {self.stored}",
            f"requests a generation   {self.requests_a_generation:.3f} ({kinds})",
            f"answers 429             {self.requests['rate_limited']}",
            f"task runs               {self.recorded.runs}, of which {self.recorded.lost_states} states and "
            f"{self.recorded.lost_events} events are missing",
            f"MB, at most             {self.handing_over / MEGABYTE:.0f} handing over, "
            f"{self.shard / MEGABYTE:.0f} a shard's run, {self.worker / MEGABYTE:.0f} its worker",
        ]


def sandbox(limit: int) -> dict[str, Any]:
    """Settings of a sandbox that takes so many requests a minute of a key."""
    return {
        "image_pixels": 32,
        "credits": {PROVIDER: 10**9},
        "rate_limits": {
            PROVIDER: {"limit": round(limit * WINDOW / 60), "window_seconds": WINDOW, "headers": True}
        },
    }


def parameters(prompts: str, batch: str, workers: int, pool: str) -> dict[str, Any]:
    """What the run of `generate-batch` is given: the address of its prompts, and the workers that run it."""
    return {
        "prompts": prompts,
        "provider": PROVIDER,
        "fleet": {"pool": pool, "workers": workers},
        "options": {"batch_id": batch},
    }


def run_batch(
    stack: Stack,
    images: int,
    batch: str = BATCH,
    workers: int | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Figures:
    """Run a batch of this many pictures to its end.

    Args:
        workers: how many share it; all of the stack where it is not said.
        meanwhile: is called again and again.

    Raises:
        TimeoutError: it does not come to an end.
    """
    prompts = _write_prompts(stack, images, batch)
    before = stack.providers.books()["requests"][PROVIDER]
    memory = _Memory(stack)

    def look() -> None:
        memory.look()
        meanwhile()

    began, seconds = time.monotonic(), SECONDS + SECONDS_AN_IMAGE * images
    run = stack.api.start_run(
        DEPLOYMENT, parameters(prompts, batch, workers or len(stack.workers), stack.pool)
    )
    handed_over = stack.api.ended(run, seconds, look)
    handing_over, memory.runs = memory.runs, 0
    state = f"{handed_over['state_name']}: {handed_over['state']['message']}"
    usage: dict[str, Any] = {}
    if handed_over["state_type"] == "COMPLETED":
        usage = _closed(stack, batch, seconds, look)
    took = time.monotonic() - began
    books = stack.providers.books(jobs=True)
    requests = {name: count - before.get(name, 0) for name, count in books["requests"][PROVIDER].items()}
    return Figures(
        completed=usage.get("stored") == images,
        state=state,
        held=_held(handed_over),
        seconds=took,
        created=_created(books["jobs"], batch),
        stored=usage.get("stored", 0),
        requests=requests,
        handing_over=handing_over,
        shard=memory.runs,
        worker=memory.workers,
        recorded=recorded(stack.database),
    )


class _Memory:
    """The most that was seen of workers, and of what they run."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.workers = 0
        self.runs = 0

    def look(self) -> None:
        """Look at all of them now."""
        for number, processes in self._stack.memory().items():
            own = processes.pop(self._stack.workers[number].pid, 0)
            self.workers = max(self.workers, own)
            self.runs = max([self.runs, *processes.values()])


def _created(jobs: Sequence[Mapping[str, Any]], batch: str) -> tuple[float, ...]:
    """When the jobs of a batch were created, in order."""
    return tuple(sorted(job["created_at"] for job in jobs if batch in job["prompt"].split()))


def _closed(stack: Stack, batch: str, seconds: float, look: Callable[[], object]) -> dict[str, Any]:
    """The bill of the batch, once whoever ran its last shard has closed the books. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    with closing(stack.s3.client()) as client, closing(open_store(stack.output, client=client)) as store:
        while store.head(f"{batch}/submission.json") is not None or not store.head(f"{batch}/usage.json"):
            look()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the books of batch {batch} are open after {seconds:.0f} s")
            time.sleep(LOOK_SECONDS)
        usage: dict[str, Any] = json.loads(store.read(f"{batch}/usage.json") or b"{}")
    return usage


def _held(run: Mapping[str, Any]) -> float:
    """For how many seconds a run has held its worker."""
    begun, ended = (datetime.fromisoformat(run[name]) for name in ("start_time", "end_time"))
    return (ended - begun).total_seconds()


def _write_prompts(stack: Stack, images: int, batch: str) -> str:
    """A prompts file, in the bucket because workers share nothing else; gives its address."""
    path = stack.folder / f"{batch}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt"])
        rows.writerows([f"a lighthouse of {batch} on island {number}"] for number in range(images))
    with closing(stack.s3.client()) as client:
        client.upload_file(str(path), BUCKET, path.name)
    return f"s3://{BUCKET}/{path.name}"
