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
from dataclasses import asdict
from pathlib import Path

from benchmarks.runs import Job, Result

RUNNERS = {
    "engine": "benchmarks.ours_engine",
    "flow": "benchmarks.ours_flow",
    "naive": "benchmarks.naive",
    "bare": "benchmarks.bare",
}
"""Each module has `async def generate(job) -> tuple[int, dict]`: items stored, and what else it says."""


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


def main() -> None:
    """Run, and print the result as the last line."""
    job = Job(**json.loads(sys.argv[1]))
    runner = importlib.import_module(RUNNERS[job.runner])
    base, cpu, began = peak_memory(), sum(os.times()[:2]), time.monotonic()
    stored, said = asyncio.run(runner.generate(job))
    seconds = time.monotonic() - began
    result = Result(stored, seconds, peak_memory(), base, sum(os.times()[:2]) - cpu, said)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
