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
# Seconds that a first job of a kind is taken to last, before any was seen.
FIRST_GUESS = {
    GenerationKind.IMAGE: 8.0,
    GenerationKind.VIDEO: 60.0,
    GenerationKind.VOICE: 5.0,
    GenerationKind.MUSIC: 20.0,
    GenerationKind.INFOGRAPHIC: 10.0,
    GenerationKind.TEXT: 4.0,
}
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

    def learn(self, flight: Flight) -> None:
        """A job has been seen to have ended by now."""
        latencies = self._seen.setdefault((flight.kind, flight.model), deque(maxlen=50))
        latencies.append(boot_seconds() - flight.since)

    def expected(self, flight: Flight) -> float:
        """Seconds that a job like this is expected to last."""
        seen = self._seen.get((flight.kind, flight.model))
        return median(seen) if seen else FIRST_GUESS[flight.kind]

    def wait(self, flights: Iterable[Flight], *, creating: bool, scarce: bool) -> float:
        """Seconds until the next look.

        Args:
            creating: more creates are to come.
            scarce: requests are limited, so that each look costs a create.
        """
        now = boot_seconds()
        flights = list(flights)
        if not flights:
            return FARTHEST
        if creating and scarce:
            return WHILE_CREATING * random.uniform(0.95, 1.05)
        left = [flight.since + self.expected(flight) - now for flight in flights]
        # A look is worth most when about half of what flies has landed; overdue jobs are looked for at
        # intervals that grow with their age.
        typical = median(left)
        age = max(now - flight.since for flight in flights)
        patience = max(CLOSEST, min(FARTHEST, 0.15 * age))
        wait = min(FARTHEST, typical) if typical > CLOSEST else patience
        # With no creates to come a look costs nobody anything: begin early, and grow with the wait.
        return max(CLOSEST, min(wait, CLOSEST + 0.4 * age)) * random.uniform(0.9, 1.1)
