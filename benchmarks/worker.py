"""The process of one measured run: `python -m benchmarks.worker '{"runner": "engine", …}'`."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import Awaitable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.runs import Job, Result

RUNNERS = {
    "engine": "benchmarks.ours_engine",
    "flow": "benchmarks.ours_flow",
    "naive": "benchmarks.naive",
    "bare": "benchmarks.bare",
    "nights": "benchmarks.nights",
    "ledger": "benchmarks.ledger",
}
"""Each module has `async def generate(job) -> tuple[int, dict]`: items stored, and what else it says."""
TICK = 0.01
"""Seconds between looks at whether the event loop keeps up."""


def peak_memory() -> float:
    """The most MB that this process has had resident."""
    # getrusage's figure survives exec, so a child would begin with its parent's peak.
    found = re.search(r"VmHWM:\s+(\d+) kB", _status())
    return int(found[1]) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _status() -> str:
    try:
        return Path("/proc/self/status").read_text()
    except OSError:
        return ""


async def watched(run: Awaitable[tuple[int, dict[str, Any]]]) -> tuple[int, dict[str, Any], float]:
    """What a run says, and the longest that its event loop was late, in seconds."""
    latest = 0.0

    async def watch() -> None:
        nonlocal latest
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            latest = max(latest, time.monotonic() - due)

    watching = asyncio.create_task(watch())
    try:
        stored, said = await run
    finally:
        watching.cancel()
    return stored, said, latest


def main() -> None:
    """Run, and print the result as the last line."""
    job = Job(**json.loads(sys.argv[1]))
    runner = importlib.import_module(RUNNERS[job.runner])
    if job.output.startswith("s3://"):  # before the run, like the bare script's boto3
        importlib.import_module("prefect_imagine.stores.s3")
    base, cpu, began = peak_memory(), sum(os.times()[:2]), time.monotonic()
    stored, said, blocked = asyncio.run(watched(runner.generate(job)))
    seconds = time.monotonic() - began
    result = Result(stored, seconds, peak_memory(), base, sum(os.times()[:2]) - cpu, said, blocked)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
