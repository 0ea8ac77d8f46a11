"""One batch through the stack, and what it took."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from benchmarks.stack.outside import BUCKET
from benchmarks.stack.stack import Stack
from prefect_imagine.stores import open_store

DEPLOYMENT = "generate-batch/generate-batch"
PROVIDER = "aivisualstudio"
BATCH = "fleet"
MEGABYTE = 1_000_000
SANDBOX: dict[str, Any] = {
    "image_pixels": 64,
    # Ten times what the provider gives, so that a limit is met, and nobody waits long for it.
    "rate_limits": {PROVIDER: {"limit": 100, "window_seconds": 10.0, "headers": True}},
}
SECONDS = 600.0
SECONDS_AN_IMAGE = 1.0
_NO_REQUESTS = ("rate_limited", "media")


@dataclass(frozen=True)
class Figures:
    """What a batch took.

    Attributes:
        state: the name and the message of the flow run's state.
        seconds: from the call that started the run to the look that found it ended.
        requests: what the provider counted by operation: API requests, `rate_limited` (answers 429 among
            them), and downloads (`media`), which are none.
        memory: the most resident bytes of each worker and its runs, by the worker's number.
    """

    completed: bool
    state: str
    seconds: float
    stored: int
    requests: dict[str, int]
    memory: dict[int, int]

    def lines(self) -> list[str]:
        """For a person."""
        sent = {name: count for name, count in self.requests.items() if name not in _NO_REQUESTS and count}
        kinds = ", ".join(f"{count} {name}" for name, count in sent.items())
        ratio = f"{sum(sent.values()) / self.stored:.2f}" if self.stored else "-"
        each = ", ".join(f"{number}: {most / MEGABYTE:.0f}" for number, most in self.memory.items())
        return [
            f"{self.state}, after {self.seconds:.1f} s",
            f"items stored            {self.stored}",
            f"requests a generation   {ratio} ({kinds})",
            f"answers 429             {self.requests['rate_limited']}",
            f"MB a worker, at most    {each}",
        ]


def parameters(prompts: str, workers: int) -> dict[str, Any]:
    """What the run of `generate-batch` is given: the address of its prompts, and how this many workers are to
    run it."""
    return {"prompts": prompts, "provider": PROVIDER, "options": {"batch_id": BATCH}}


def run_batch(stack: Stack, images: int) -> Figures:
    """Run a batch of this many pictures to its end.

    Raises:
        TimeoutError: it does not come to an end.
    """
    prompts = _write_prompts(stack, images)
    most: Counter[int] = Counter()

    def look() -> None:
        for number, processes in stack.memory().items():
            most[number] = max(most[number], sum(processes.values()))

    began = time.monotonic()
    run = stack.api.start_run(DEPLOYMENT, parameters(prompts, len(stack.workers)))
    ended = stack.api.ended(run, SECONDS + SECONDS_AN_IMAGE * images, look)
    return Figures(
        completed=ended["state_type"] == "COMPLETED",
        state=f"{ended['state_name']}: {ended['state']['message']}",
        seconds=time.monotonic() - began,
        stored=_stored(stack),
        requests=stack.providers.books()["requests"][PROVIDER],
        memory=dict(most),
    )


def _write_prompts(stack: Stack, images: int) -> str:
    """A prompts file, in the bucket because workers share nothing else; gives its address."""
    path = stack.folder / "prompts.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt"])
        rows.writerows([f"a lighthouse on island {number}"] for number in range(images))
    with closing(stack.s3.client()) as client:
        client.upload_file(str(path), BUCKET, path.name)
    return f"s3://{BUCKET}/{path.name}"


def _stored(stack: Stack) -> int:
    with closing(stack.s3.client()) as client, closing(open_store(stack.output, client=client)) as store:
        usage = store.read(f"{BATCH}/usage.json")
    return int(json.loads(usage)["stored"]) if usage else 0
