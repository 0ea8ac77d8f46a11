"""When to look next: rarely while creates still need the limit, closely in the tail."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from prefect_imagine.backoff import PAUSES
from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.models import GenerationKind

WHILE_CREATING = 30.0
MAX_POLL_SECONDS = 30.0
OVERDUE = 0.15


@dataclass(frozen=True)
class RunningJob:
    """A job under way: since when (boot clock), and of what sort its latency is."""

    item: int
    since: float
    kind: GenerationKind
    model: str | None

    def overdue(self, longest: float) -> bool:
        """Whether it has taken longer than so many seconds."""
        return boot_seconds() - self.since > longest


class Cadence:
    """Learns how long jobs of each kind and model take, and says how long to wait before the next look.

    Args:
        closest: seconds from one look to the next at least, where requests are limited.
        clock: seconds by the clock that the jobs' `since` goes by.

    Attributes:
        look_at_once: the next look is wanted now, for what it tells besides.
    """

    def __init__(
        self, closest: float = PAUSES.between_looks, clock: Callable[[], float] = boot_seconds
    ) -> None:
        self.look_at_once = False
        self._closest = closest
        self._clock = clock
        self._seen: dict[tuple[GenerationKind, str | None], deque[float]] = {}

    def learn(self, job: RunningJob, lasted: float | None = None) -> None:
        """A job has been seen to have ended by now.

        Args:
            lasted: seconds from its creation to its end, where the record has both.
        """
        latencies = self._seen.setdefault((job.kind, job.model), deque(maxlen=50))
        by_now = self._clock() - job.since
        latencies.append(by_now if lasted is None or lasted <= 0 else min(by_now, lasted))

    def _left(self, job: RunningJob, now: float) -> float:
        """Seconds until a job like those that were seen is expected to end."""
        return job.since + median(self._seen[job.kind, job.model]) - now

    def _next_landing(self, jobs: Iterable[RunningJob], now: float) -> float:
        """Seconds until the first of these may have ended; for one that is overdue, the longer the older."""
        left = ((self._left(job, now), now - job.since) for job in jobs)
        return min(wait if wait > 0 else OVERDUE * age for wait, age in left)

    def wait(
        self, jobs: Iterable[RunningJob], *, creating: bool, scarce: bool, full_in: float | None = None
    ) -> float:
        """Seconds until the next look.

        Args:
            creating: more creates are to come.
            scarce: requests are limited, so that each look costs a create.
            full_in: seconds until creates have to wait for a job to end, where the provider limits how
                many may be pending.
        """
        if self.look_at_once:
            self.look_at_once = False
            return 0.0
        jobs = list(jobs)
        if not jobs:
            return MAX_POLL_SECONDS
        full_soon = full_in if full_in is not None and full_in < WHILE_CREATING else None
        if creating and scarce and full_soon is None:
            return WHILE_CREATING * random.uniform(0.95, 1.05)
        closest = self._closest if scarce or full_soon is None else self._closest / 2
        wait = self._worth_waiting_for(jobs, full_soon)
        return max(closest, min(MAX_POLL_SECONDS, wait)) * random.uniform(0.95, 1.05)

    def _worth_waiting_for(self, jobs: Sequence[RunningJob], full_in: float | None) -> float:
        now = self._clock()
        age = min(now - job.since for job in jobs)
        # Where nothing has been seen yet, look early; the interval grows with the age of what is overdue.
        if any((job.kind, job.model) not in self._seen for job in jobs):
            return 0.4 * age
        if full_in is not None:
            return max(full_in, self._next_landing(jobs, now))
        landing = sorted(left for job in jobs if (left := self._left(job, now)) > 0)
        return landing[len(landing) * 3 // 4] if landing else OVERDUE * age
