"""Starting a measured run as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

QUIET = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Job:
    """What a run is to do.

    Attributes:
        runner: `engine`, `flow`, `naive` and others; see `benchmarks.worker`.
        output: the folder or s3:// address to store under.
        rates: rates to keep, by provider, as `--rate` takes them.
        first: the number of the first prompt: other numbers are other prompts.
        machine: runs of one machine share the pace that they keep on it.
    """

    runner: str
    generations: int
    output: str
    provider: str = "aivisualstudio"
    kind: str = "image"
    batch_id: str = "bench"
    rates: dict[str, str] = field(default_factory=dict)
    first: int = 1
    machine: str = "one"

    @property
    def prompts(self) -> Iterator[str]:
        """What is to be generated."""
        return (f"{self.provider} {self.batch_id} picture {number}" for number in self._numbers)

    @property
    def _numbers(self) -> range:
        return range(self.first, self.first + self.generations)


@dataclass(frozen=True)
class Result:
    """What a run says of itself: `seconds` from its first line after the imports, memory in MB.

    Attributes:
        stored: outputs' items that were stored.
        memory: the most that was resident.
        base_memory: what was resident before it began, imports included.
        blocked: the longest that its event loop let something wait that was due.
    """

    stored: int
    seconds: float
    memory: float
    base_memory: float
    cpu_seconds: float
    said: dict[str, Any] = field(default_factory=dict)
    blocked: float = 0.0


class Run:
    """A run that has been started."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.job = job
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(job))],
            env={**os.environ, **QUIET, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def result(self) -> Result:
        """Wait for its end. Raises `RuntimeError` if it failed."""
        output, _ = self._process.communicate()
        lines = output.splitlines()
        if self._process.returncode or not lines:
            raise RuntimeError(f"{self.job} ended with {self._process.returncode}:\n{output[-2000:]}")
        return Result(**json.loads(lines[-1]))

    def end(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def run(job: Job, environment: Mapping[str, str]) -> Result:
    """Start a run and wait for its end."""
    return Run(job, environment).result()
