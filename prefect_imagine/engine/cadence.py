"""When to look next: rarely while creates still need the limit, closely in the tail."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefect_imagine.backoff import PAUSES
from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.latencies import Latencies
from prefect_imagine.providers.models import GenerationKind

WHILE_CREATING = 30.0
MAX_POLL_SECONDS = 30.0
OVERDUE = 0.15
DELIVERED_AFTER = 60.0
"""How much longer than usual a job takes whose delivery counts as lost, where ends are delivered."""
WHILE_DELIVERING = 300.0
FULL = 0.1
"""How much closer looks may follow each other where places for jobs are scarce, and requests are not."""
OVERDUE_IN_PLACE = 0.05
"""The same as `OVERDUE` where another job waits for the place, and requests are not scarce."""
_Sort = tuple[GenerationKind, str | None]


@dataclass(frozen=True)
class RunningJob:
    """A job under way: since when (boot clock), and of what sort its latency is.

    Attributes:
        watched: it has been looked at since it began. Of another the first look does not say when it ended.
    """

    item: int
    since: float
    kind: GenerationKind
    model: str | None
    watched: bool = True

    @property
    def sort(self) -> _Sort:
        """What its latency goes by."""
        return self.kind, self.model

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
        self._latencies: defaultdict[_Sort, Latencies] = defaultdict(Latencies)

    def learn(self, ended: Mapping[RunningJob, float | None], running: Iterable[RunningJob]) -> None:
        """Learn from a look.

        Args:
            ended: those that have ended since the look before, with the seconds from their creation to their
                end where the record has both.
            running: others that it has shown.
        """
        now = self._clock()
        ages: defaultdict[_Sort, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        for job, lasted in ended.items():
            if job.watched:
                ages[job.sort][0].append(now - job.since)
            if lasted is not None and lasted > 0:
                self._latencies[job.sort].tell(min(now - job.since, lasted))
        for job in running:
            ages[job.sort][1].append(now - job.since)
        for sort, (landed, flying) in ages.items():
            self._latencies[sort].see(landed, flying)

    @property
    def latencies(self) -> dict[_Sort, float]:
        """Seconds that jobs of a kind and model take, where it is known."""
        return _known((sort, each.typical) for sort, each in self._latencies.items())

    def begin_with(self, kind: GenerationKind, model: str | None, seconds: float) -> None:
        """Begin with how long jobs of a sort took before."""
        self._latencies[kind, model].see([seconds], [])

    def longest_left(self, jobs: Iterable[RunningJob]) -> float | None:
        """Seconds until the last of these jobs ends, as far as it is known how long their sorts take."""
        now, typical = self._clock(), self.latencies
        return max((job.since + typical[job.sort] - now for job in jobs if job.sort in typical), default=None)

    def wait(
        self,
        jobs: Iterable[RunningJob],
        *,
        creating: bool,
        scarce: bool,
        full_in: float | None = None,
        delivering: bool = False,
        since_look: float = math.inf,
    ) -> float:
        """Seconds until the next look.

        Args:
            creating: more creates are to come.
            scarce: requests are limited, so that each look costs a create.
            full_in: seconds until creates have to wait for a job to end, where the provider limits how
                many may be pending; infinite where there is nothing to create any more.
            delivering: the provider delivers the ends of jobs: a look is for those whose delivery is lost.
            since_look: seconds since the last look.
        """
        jobs = list(jobs)
        if not jobs:
            return MAX_POLL_SECONDS
        if self.look_at_once:
            self.look_at_once = False
            return 0.0
        if delivering:
            return self._until_lost(jobs, since_look) * random.uniform(0.95, 1.05)
        full_soon = full_in if full_in is not None and full_in < WHILE_CREATING else None
        if creating and scarce and full_soon is None:
            return WHILE_CREATING * random.uniform(0.95, 1.05)
        closest = self._closest if scarce or full_in is None else FULL * self._closest
        if {job.sort for job in jobs} - set(self.latencies):
            # Look early; the interval grows with the age of what is overdue.
            wait = max(closest, 0.4 * self._youngest(jobs))
        elif full_soon is not None:
            wait = max(closest, self._until_free(jobs, full_soon, OVERDUE if scarce else OVERDUE_IN_PLACE))
        else:
            wait = self._until_ended(jobs, closest, since_look)
        return min(MAX_POLL_SECONDS, wait) * random.uniform(0.95, 1.05)

    def _until_lost(self, jobs: Sequence[RunningJob], since_look: float) -> float:
        """Seconds until the delivery of the oldest job's end counts as lost; of one that is longer under way,
        until another look may be worth it."""
        now, typical = self._clock(), self.latencies
        lost = min(job.since + 2 * typical.get(job.sort, DELIVERED_AFTER) + DELIVERED_AFTER for job in jobs)
        if lost > now:
            return min(WHILE_DELIVERING, lost - now)
        oldest = max(now - job.since for job in jobs)
        return max(0.0, min(WHILE_DELIVERING, max(DELIVERED_AFTER, OVERDUE * oldest)) - since_look)

    def _until_free(self, jobs: Sequence[RunningJob], full_in: float, overdue: float) -> float:
        """Seconds until a create can have the place of a job that has ended."""
        now, typical = self._clock(), self.latencies
        left = [(job.since + typical[job.sort] - now, now - job.since) for job in jobs]
        # One that is overdue may end any moment, but the longer it has hung the less likely.
        return max(full_in, min(wait if wait > 0 else overdue * since for wait, since in left))

    def _until_ended(self, jobs: Sequence[RunningJob], closest: float, since_look: float) -> float:
        """Seconds until most jobs have ended, or all where the last ones end soon after: a look at most of
        them is not worth its request then."""
        now, typical = self._clock(), self.latencies
        slowest = _known((sort, each.slowest) for sort, each in self._latencies.items())
        left = [job.since + slowest[job.sort] - now for job in jobs]
        if 2 * sum(-since_look < each <= 0 for each in left) >= len(jobs):
            return max(0.0, closest - since_look)
        ending = sorted(wait for job in jobs if (wait := job.since + typical[job.sort] - now) > 0)
        most = ending[len(ending) * 3 // 4] if ending else 0.0
        soon = most + max(closest, OVERDUE * self._youngest(jobs))
        last = max(left)
        if 0 < last <= soon:
            return max(closest, last)
        return max(closest, most or soon)

    def _youngest(self, jobs: Iterable[RunningJob]) -> float:
        """The age of the youngest, in seconds."""
        return self._clock() - max(job.since for job in jobs)


def _known(seconds: Iterable[tuple[_Sort, float | None]]) -> dict[_Sort, float]:
    return {sort: each for sort, each in seconds if each is not None}
