"""What a run looked like from the provider's side: the only view that favours nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNLIMITED = ("media", "login")


@dataclass(frozen=True)
class Traffic:
    """One provider's requests and jobs during a run; times are seconds since the epoch.

    Attributes:
        requests: API requests by operation; downloads of media are none.
        creates: when accepted jobs were created.
        slowest: seconds that the slowest job took.
        ended: when the last answer left, downloads included.
    """

    requests: Counter[str]
    downloads: int
    refused: int
    arrivals: tuple[float, ...]
    refusals: tuple[float, ...]
    creates: tuple[float, ...]
    first_create: float
    slowest: float
    ended: float

    @classmethod
    def of(cls, books: Mapping[str, Any], provider: str) -> Traffic:
        """Read a sandbox's books."""
        arrivals = [(at, operation) for at, name, operation in books["arrivals"] if name == provider]
        departures = [(at, status) for at, name, status in books["departures"] if name == provider]
        jobs = [(created, lasted) for name, created, lasted in books["jobs"] if name == provider]
        requests = Counter(operation for _, operation in arrivals if operation != "media")
        api = [(at, operation) for at, operation in arrivals if operation not in UNLIMITED]
        refusals = tuple(at for at, status in departures if status == 429)
        return cls(
            requests=requests,
            downloads=sum(operation == "media" for _, operation in arrivals),
            refused=len(refusals),
            arrivals=tuple(at for at, _ in api),
            refusals=refusals,
            creates=tuple(created for created, _ in jobs),
            first_create=min((at for at, operation in api if operation == "create"), default=0.0),
            slowest=max((lasted for _, lasted in jobs), default=0.0),
            ended=max((at for at, _ in departures), default=0.0),
        )

    @property
    def accepted(self) -> int:
        """Jobs that were created, each of them paid for."""
        return len(self.creates)

    @property
    def per_generation(self) -> float:
        """Requests that reached the API, refused ones included, for each generation."""
        return sum(self.requests.values()) / max(1, self.accepted)

    @property
    def makespan(self) -> float:
        """Seconds from the first create to the last result."""
        return self.ended - self.first_create

    def use_of_windows(self, limit: int, seconds: float) -> float:
        """The part of the limit that was used in full windows: those that ended while creates went on.

        A window opens with the first request after the one before has ended, as the sandbox's do.
        """
        passed = self._passed()
        last_create = max(self.creates, default=0.0)
        full = used = 0
        while passed:
            end = passed[0] + seconds
            inside = sum(at < end for at in passed)
            passed = passed[inside:]
            if end <= last_create:
                full += 1
                used += min(inside, limit)
        return used / (full * limit) if full else float("nan")

    def _passed(self) -> list[float]:
        """Arrivals without the refused ones: a refusal leaves at once, its arrival is the one before."""
        arrivals = sorted(self.arrivals)
        for refusal in sorted(self.refusals):
            own = max((at for at in arrivals if at <= refusal), default=None)
            if own is not None:
                arrivals.remove(own)
        return arrivals

    def pace(self, limit: int, seconds: float) -> float:
        """Accepted creates a second, over what the limit allows: idle time between windows counts too."""
        span = max(self.creates, default=0.0) - min(self.creates, default=0.0)
        return (len(self.creates) - 1) / span / (limit / seconds) if span else float("nan")
