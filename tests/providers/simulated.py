"""Requests of one key against a simulated server, on a clock of their own."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

from prefect_imagine.providers.limits import rates
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.sandbox.core.clock import Clock
from prefect_imagine.sandbox.core.ratelimit import limit_headers, make_limiter
from prefect_imagine.sandbox.core.settings import RateLimit

START = 1_750_000_000.0
BOOT = 5_000.0
CONCURRENT = 16


@dataclass
class Run:
    """One key's requests against one limiter. Boot seconds are the server's less an offset.

    Attributes:
        phase: seconds by which windows of a fixed limit have begun when the first request comes; else they
            begin with it.
        tells_wait: whether a 429 tells how long to wait, where there are no other headers.
    """

    rule: RateLimit
    latencies: list[float]
    pace: Pace = field(default_factory=Pace)
    phase: float = 0.0
    tells_wait: bool = False
    refusals: int = 0
    landed: list[float] = field(default_factory=list)

    def send(self, number: int, *, again: bool = False) -> float:
        """Send this many requests, those that are refused again if wanted; the seconds until the last
        answer."""
        limiter, now, granted = make_limiter(self.rule), 0.0, 0
        if self.phase:
            limiter.take(START - self.phase)
        arrivals: list[tuple[float, int, float]] = []
        answers: list[tuple[float, int, bool, float, dict[str, str]]] = []
        while len(self.landed) + (0 if again else self.refusals) < number:
            flying = len(arrivals) + len(answers)
            wait = float("inf")
            left = number - granted + (self.refusals if again else 0)
            if left > 0 and flying < CONCURRENT:
                self.pace, wait = rates.reserve(self.pace, BOOT + now, demand=left - 1, flying=flying)
                if wait <= 0:
                    trip = self.latencies[granted % len(self.latencies)]
                    heapq.heappush(arrivals, (now + trip / 2, granted, now))
                    granted += 1
                    continue
            events = [heap[0][0] for heap in (arrivals, answers) if heap]
            now = min([now + wait, *events])
            while arrivals and arrivals[0][0] <= now:
                at, index, sent = heapq.heappop(arrivals)
                verdict = limiter.take(START + at)
                told = limit_headers(self.rule, verdict, START + at, 0.0)
                if self.tells_wait and not verdict.allowed:
                    told |= {"Retry-After": str(math.ceil(verdict.reset_at - START - at))}
                told |= {"Date": Clock().http_date(START + at - Clock().now())}
                heapq.heappush(answers, (at + (at - sent), index, verdict.allowed, sent, told))
            while answers and answers[0][0] <= now:
                at, _, allowed, sent, told = heapq.heappop(answers)
                self.land(at, allowed, sent, {name.lower(): value for name, value in told.items()})
        return max(self.landed)

    def land(self, at: float, allowed: bool, sent: float, told: dict[str, str]) -> None:
        headers = RateHeaders.of(told, START + at)
        if allowed:
            self.landed.append(at)
            self.pace = rates.answered(self.pace, BOOT + at, headers, granted_at=BOOT + sent)
        else:
            self.refusals += 1
            self.pace = rates.refused(self.pace, BOOT + at, headers, granted_at=BOOT + sent)
