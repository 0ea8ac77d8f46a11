"""Requests of machines that share one key against a simulated server, on a clock of their own."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import lru_cache
from random import Random
from typing import NamedTuple

from prefect_imagine.providers.limits import rates
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.sandbox.core.ratelimit import limit_headers, make_limiter
from prefect_imagine.sandbox.core.settings import RateLimit

START = 1_750_000_000.0
BOOT = 5_000.0
CONCURRENT = 16
TRIPS = (0.1, 0.6)
"""Seconds of a greedy machine's request, there and back."""
ENDLESS = 10**6
_ARRIVES, _LANDS, _ASKS = range(3)
"""What comes first where several things come at once."""


@dataclass
class Machine:
    """A machine with a pace of its own. Boot seconds are the server's less an offset.

    Attributes:
        latencies: seconds that its requests take there and back, in turn.
        wanted: how many requests it is to send.
        again: whether it sends again what is refused.
        begins: seconds after the start at which it begins.
        rate: what it was told to keep where no headers name a rate.
        asked: how often it has asked its pace for a permit.
        landed, refused: when its answers came that were no 429, and those that were.
    """

    latencies: Sequence[float]
    pace: Pace = field(default_factory=Pace)
    wanted: int = 0
    again: bool = False
    begins: float = 0.0
    rate: Rate | None = None
    asked: int = 0
    sent: int = 0
    landed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @property
    def flying(self) -> int:
        """Requests under way."""
        return self.sent - len(self.landed) - len(self.refused)

    @property
    def left(self) -> int:
        """Requests that are still to be sent."""
        return self.wanted - self.sent + (len(self.refused) if self.again else 0)

    def ask(self, now: float) -> float:
        """The seconds to wait before asking again; 0 where a request may be sent now."""
        pace = self.pace
        if self.rate is not None and not pace.by_headers:
            pace = replace(pace, interval=max(pace.interval, self.rate.interval * pace.machines))
        self.asked += 1
        self.pace, wait = rates.reserve(pace, BOOT + now, demand=self.left - 1, flying=self.flying)
        return wait

    def trip(self) -> float:
        """Seconds that the next request takes there and back."""
        return self.latencies[self.sent % len(self.latencies)]

    def land(self, at: float, allowed: bool, sent: float, told: dict[str, str]) -> None:
        """An answer has come."""
        headers = RateHeaders.of(told, START + at)
        if allowed:
            self.landed.append(at)
            self.pace = rates.answered(self.pace, BOOT + at, headers, granted_at=BOOT + sent)
        else:
            self.refused.append(at)
            self.pace = rates.refused(self.pace, BOOT + at, headers, granted_at=BOOT + sent)


def greedy(dice: Random, rule: RateLimit, pace: Pace, rate: Rate | None = None) -> Machine:
    """A machine that begins within the first window, and wants more than there is all the time."""
    trips = [dice.uniform(*TRIPS) for _ in range(97)]
    begins = dice.uniform(0, rule.window_seconds)
    return Machine(trips, pace, wanted=ENDLESS, again=True, begins=begins, rate=rate)


class _Answer(NamedTuple):
    allowed: bool
    sent: float
    told: dict[str, str]


class Key:
    """The requests of all machines that use one key, against the key's limiter.

    Args:
        phase: seconds by which windows of a fixed limit have begun when the first request comes; else they
            begin with it.
        tells_wait: whether a 429 tells how long to wait, where there are no other headers.
    """

    def __init__(
        self, rule: RateLimit, machines: Sequence[Machine], *, phase: float = 0.0, tells_wait: bool = False
    ) -> None:
        self._rule, self._machines, self._tells_wait = rule, machines, tells_wait
        self._limiter = make_limiter(rule)
        if phase:
            self._limiter.take(START - phase)
        self._events: list[tuple[float, int, int, int, float | _Answer]] = []
        self._count = 0
        self._next_ask = [math.inf] * len(machines)

    def run(self, seconds: float = math.inf) -> None:
        """Go on until everything that is wanted has been answered, or for so many seconds."""
        for place, machine in enumerate(self._machines):
            self._ask_at(machine.begins, place)
        while self._events and self._events[0][0] <= seconds:
            now, kind, _, place, what = heapq.heappop(self._events)
            if isinstance(what, _Answer):
                self._machines[place].land(now, *what)
                self._ask_at(now, place)
            elif kind == _ARRIVES:
                answer = self._answer(now, what)
                self._push(now + (now - what), _LANDS, place, answer)
            elif now == self._next_ask[place]:  # else news came before, and it has asked since
                self._next_ask[place] = math.inf
                self._send(now, place)

    def _send(self, now: float, place: int) -> None:
        """Send what a machine may send now."""
        machine = self._machines[place]
        while machine.left > 0 and machine.flying < CONCURRENT:
            if (wait := machine.ask(now)) > 0:
                self._ask_at(now + wait, place)
                return
            self._push(now + machine.trip() / 2, _ARRIVES, place, now)
            machine.sent += 1

    def _answer(self, at: float, sent: float) -> _Answer:
        verdict = self._limiter.take(START + at)
        told = limit_headers(self._rule, verdict, START + at, 0.0)
        if self._tells_wait and not verdict.allowed:
            told |= {"Retry-After": str(math.ceil(verdict.reset_at - START - at))}
        told |= {"Date": _date(int(START + at))}
        return _Answer(verdict.allowed, sent, {name.lower(): value for name, value in told.items()})

    def _ask_at(self, at: float, place: int) -> None:
        if at < self._next_ask[place]:
            self._next_ask[place] = at
            self._push(at, _ASKS, place, at)

    def _push(self, at: float, kind: int, place: int, what: float | _Answer) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, kind, self._count, place, what))


@lru_cache
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@dataclass
class Run:
    """One machine's requests; see `Key`."""

    rule: RateLimit
    latencies: list[float]
    pace: Pace = field(default_factory=Pace)
    phase: float = 0.0
    tells_wait: bool = False
    refusals: int = 0

    def send(self, number: int, *, again: bool = False) -> float:
        """Send this many requests, those that are refused again if wanted; the seconds until the last
        answer."""
        machine = Machine(self.latencies, self.pace, wanted=number, again=again)
        Key(self.rule, [machine], phase=self.phase, tells_wait=self.tells_wait).run()
        self.pace, self.refusals = machine.pace, len(machine.refused)
        return max(machine.landed)
