"""What the cases run on: a folder that goes away, a Prefect server, and sandboxes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.runs import Job, Result, Run
from benchmarks.sandbox_server import Server, sandbox_server
from benchmarks.traffic import Traffic
from tests.prefect_server import settings, shared_server, stop_shared_server

TINY = 64
"""Pixels of a picture's longer side, so that drawing them costs the sandbox little."""


class Rig:
    """Everything that the cases share. The Prefect server starts when it is first needed."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self._outputs = 0

    def fresh_output(self) -> str:
        """An empty folder to store under."""
        self._outputs += 1
        return str(self.folder / f"output-{self._outputs}")

    @property
    def prefect_environment(self) -> dict[str, str]:
        """What makes a process use the Prefect server."""
        folder = self.folder / "prefect"
        return settings(folder / "home", shared_server(folder))

    @property
    def prefect_log(self) -> str:
        """What the Prefect server has logged, from warnings upwards."""
        return (self.folder / "prefect" / "server.log").read_text(errors="replace")

    def start(self, server: Server, job: Job, more: Mapping[str, str] | None = None) -> Run:
        """Start a run against a sandbox, with more in its environment."""
        environment = {**server.environment, **(more or {})}
        environment["XDG_CACHE_HOME"] = str(self.folder / "cache" / job.machine)
        if job.runner in ("flow", "naive"):
            environment |= self.prefect_environment
        return Run(job, environment)

    def measure(
        self, server: Server, *jobs: Job, keep_jobs: bool = False, more: Mapping[str, str] | None = None
    ) -> list[tuple[Result, Traffic]]:
        """Run jobs side by side; the sandbox forgets first what it has seen, its jobs too unless told.

        The traffic is that of the job's provider, so jobs of one provider get the same.
        """
        server.forget(jobs=not keep_jobs)
        self._forget_pace()
        runs = [self.start(server, job, more) for job in jobs]
        try:
            results = [each.result() for each in runs]
        finally:
            for each in runs:
                each.end()
        books = server.books()
        return [(result, Traffic.of(books, job.provider)) for result, job in zip(results, jobs, strict=True)]

    def _forget_pace(self) -> None:
        for file in (self.folder / "cache").rglob("*.json"):
            file.unlink()


@contextmanager
def open_rig(*, quick: bool) -> Iterator[Rig]:
    """A rig, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="imagine-bench-", ignore_cleanup_errors=True) as name:
        try:
            yield Rig(Path(name), quick=quick)
        finally:
            stop_shared_server(Path(name) / "prefect")


def small_pictures(**settings: Any) -> Any:
    """A sandbox with tiny pictures and credits that do not run out."""
    plenty = {"imaginelab": 10**9, "aivisualstudio": 10**9}
    return sandbox_server(**{"image_pixels": TINY, "credits": plenty, **settings})


def instant_pictures(**settings: Any) -> Any:
    """A sandbox whose AI Visual Studio has no limit, and whose tiny pictures are ready at once."""
    limits = {"aivisualstudio": {"limit": None}}
    return small_pictures(**{"rate_limits": limits, "latency": {"image": (0.0, 0.0)}, **settings})
