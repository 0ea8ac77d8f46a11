"""The sandbox as a process of its own, which also remembers when each request came and how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings, running_sandbox


@dataclass(frozen=True)
class Server:
    """A sandbox in another process. `environment` is what points a client at it."""

    process: subprocess.Popen[str]
    environment: dict[str, str]

    def books(self) -> dict[str, Any]:
        """What it has seen so far: `arrivals` and `departures` with times, `jobs`, and its own counts."""
        return self._ask("books")

    def forget(self, *, jobs: bool = True) -> None:
        """Forget the requests seen so far, and the jobs with them unless told otherwise."""
        self._ask("forget everything" if jobs else "forget requests")

    def _ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def sandbox_server(**settings: Any) -> Iterator[Server]:
    """Run a sandbox with these settings (see `SandboxSettings`) until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sandbox_server", json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(process, json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class _Log:
    """When requests came and went, by provider."""

    def __init__(self, running: RunningSandbox) -> None:
        self._arrive, self._leave = running.books.arrive, running.books.leave
        running.books.arrive = self.arrive  # type: ignore[method-assign]
        running.books.leave = self.leave  # type: ignore[method-assign]
        self.clear()

    def clear(self) -> None:
        self.arrivals: list[tuple[float, str, str]] = []
        self.departures: list[tuple[float, str, int]] = []

    def arrive(self, provider: str, operation: str) -> None:
        self.arrivals.append((time.time(), provider, operation))
        self._arrive(provider, operation)

    def leave(self, provider: str, status: int) -> None:
        self.departures.append((time.time(), provider, status))
        self._leave(provider, status)


def _serve(settings: SandboxSettings) -> None:
    with running_sandbox(settings) as running:
        log = _Log(running)
        print(json.dumps(running.environment), flush=True)
        for line in sys.stdin:
            answer: dict[str, Any] = {}
            if line.startswith("forget"):
                log.clear()
                if "everything" in line:
                    running.reset()
            else:
                answer = running.report(jobs=False) | {
                    "arrivals": log.arrivals,
                    "departures": log.departures,
                    "jobs": [
                        (job.provider, job.created_at, job.duration) for job in list(running.books.jobs)
                    ],
                    "cpu_seconds": sum(os.times()[:2]),
                }
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(SandboxSettings(**json.loads(sys.argv[1])))
