"""What becomes known of a run's jobs by other ways than its own looks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.models import Generation

MOST = 10_000
"""Jobs of which something may wait; what comes beyond them is found by looking."""


class Arrivals:
    """Records that are believed as they are, and jobs that are worth a look now. What concerns a job that is
    not followed yet waits: a delivery may come before the answer to the create.

    Attributes:
        count: how much has come so far.

    Args:
        wake: is called when something has come.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.count = 0
        self._wake = wake
        self._rows: dict[str, Generation] = {}
        self._hinted: dict[str, float] = {}

    def bring(self, rows: Mapping[str, Generation]) -> None:
        """Records that need no further look."""
        self.count += len(rows)
        self._rows.update((job, row) for job, row in rows.items() if len(self._rows) < MOST)
        self._wake()

    def hint(self, jobs: Collection[str]) -> None:
        """Jobs that may have ended."""
        self.count += len(jobs)
        for job in jobs:
            if len(self._hinted) < MOST:
                self._hinted.setdefault(job, boot_seconds())
        self._wake()

    def concern(self, followed: Collection[str]) -> bool:
        """Whether a record has come of one of these jobs."""
        return any(job in followed for job in self._rows)

    def hinted(self, followed: Collection[str]) -> dict[str, float]:
        """Those of these jobs that are worth a look, with the times (boot clock) since when."""
        return {job: since for job, since in self._hinted.items() if job in followed}

    def take_rows(self, followed: Collection[str]) -> dict[str, Generation]:
        """The records of these jobs, once."""
        found = [job for job in self._rows if job in followed]
        for job in found:
            self._hinted.pop(job, None)
        return {job: self._rows.pop(job) for job in found}

    def take_hints(self, followed: Collection[str]) -> list[str]:
        """Those of these jobs that are worth a look, once."""
        found = list(self.hinted(followed))
        for job in found:
            del self._hinted[job]
        return found

    def holds(self, job: str) -> bool:
        """Whether something of a job waits to be taken."""
        return job in self._rows or job in self._hinted

    def drop(self, job: str) -> None:
        """Forget what has come of a job."""
        self._rows.pop(job, None)
        self._hinted.pop(job, None)
