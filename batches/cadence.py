"""When to look next: rarely while creates still need the limit, closely in the tail."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from prefect_imagine.providers.clock import boot_seconds
from prefect_imagine.providers.models import GenerationKind

WHILE_CREATING = 30.0
CLOSEST = 2.0
FARTHEST = 30.0
LONGEST = {GenerationKind.VIDEO: 7200.0}
LONGEST_OTHERWISE = 3600.0


@dataclass(frozen=True)
class Flight:
    """A job under way: since when (boot clock), and of what sort its latency is."""

    item: int
    since: float
    kind: GenerationKind
    model: str | None

    @property
    def overdue(self) -> bool:
        """Whether it has taken longer than any job of its kind should."""
        return boot_seconds() - self.since > LONGEST.get(self.kind, LONGEST_OTHERWISE)


class Cadence:
    """Learns how long jobs of each kind and model take, and says how long to wait before the next look."""

    def __init__(self) -> None:
        self._seen: dict[tuple[GenerationKind, str | None], deque[float]] = {}

    def learn(self, flight: Flight, lasted: float | None = None) -> None:
        """A job has been seen to have ended by now.

        Args:
            lasted: seconds from its creation to its end, where the record tells both.
        """
        latencies = self._seen.setdefault((flight.kind, flight.model), deque(maxlen=50))
        by_now = boot_seconds() - flight.since
        latencies.append(by_now if lasted is None or lasted <= 0 else min(by_now, lasted))

    def _left(self, flight: Flight, now: float) -> float:
        """Seconds until a job like those that were seen is expected to end."""
        return flight.since + median(self._seen[flight.kind, flight.model]) - now

    def wait(
        self, flights: Iterable[Flight], *, creating: bool, scarce: bool, queue_full: bool = False
    ) -> float:
        """Seconds until the next look.

        Args:
            creating: more creates are to come.
            scarce: requests are limited, so that each look costs a create.
            queue_full: creates wait for a job to end.
        """
        now = boot_seconds()
        flights = list(flights)
        if not flights:
            return FARTHEST
        if creating and scarce:
            return WHILE_CREATING * random.uniform(0.95, 1.05)
        # Where nothing has been seen yet, look early; the interval grows with the age of what is overdue.
        age = min(now - flight.since for flight in flights)
        if any((flight.kind, flight.model) not in self._seen for flight in flights):
            return max(CLOSEST, min(FARTHEST, 0.4 * age)) * random.uniform(0.9, 1.1)
        left = sorted(self._left(flight, now) for flight in flights)
        landing = [wait for wait in left if wait > 0]
        overdue = max(CLOSEST, min(FARTHEST, 0.15 * age))
        # What is worth waiting for: the next landing where a full queue waits for it, else most of them.
        wait = landing[0 if queue_full else len(landing) * 3 // 4] if landing else overdue
        return max(CLOSEST, min(FARTHEST, wait)) * random.uniform(0.95, 1.05)
