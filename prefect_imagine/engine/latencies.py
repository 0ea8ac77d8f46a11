"""How long jobs take, by what looks at them have shown."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

TOLD = 50
LOOKS = 5
"""So many of the newest records, or looks, are what is believed."""
STUCK = 2.0
"""A job that takes so many times as long as others do says nothing of them."""
LATE = 1.1
"""How much longer the slowest takes than the oldest that has been seen to run."""


class Latencies:
    """How long jobs of one sort take.

    A record that says when its job began and ended tells it. Where none does, a look shows which ages had
    ended by then and which had not, and the age between these two tells it; how old those are that run on
    tells how long the slowest take. A look after all have ended says only that they take no longer.
    """

    def __init__(self) -> None:
        self._told: deque[float] = deque(maxlen=TOLD)
        self._seen: deque[float] = deque(maxlen=LOOKS)
        self._running: deque[float] = deque(maxlen=LOOKS)
        self._at_most: deque[float] = deque(maxlen=LOOKS)

    def tell(self, seconds: float) -> None:
        """A record tells how long its job took."""
        self._told.append(seconds)

    def see(self, ended: Sequence[float], running: Sequence[float]) -> None:
        """A look has shown the ages of jobs that have ended since the one before, and of others that still
        run."""
        if not ended:
            return
        point = turning_point(ended, running)
        if any(2 * age >= point for age in running):
            self._seen.append(point)
            self._running.append(self._oldest(running))
        else:
            self._at_most.append(point)

    @property
    def typical(self) -> float | None:
        """Seconds; `None` while nothing is known."""
        known = self._told or self._seen
        return median(known) if known else min(self._at_most, default=None)

    @property
    def slowest(self) -> float | None:
        """Seconds by which nearly all have ended; `None` while nothing is known."""
        typical = self.typical
        if typical is None:
            return None
        return max(typical, self._oldest(self._told) if self._told else LATE * self._oldest(self._running))

    def _oldest(self, ages: Iterable[float]) -> float:
        """The oldest of those that are not stuck."""
        most = STUCK * (self.typical or 0.0)
        return max((age for age in ages if age <= most), default=0.0)


def turning_point(ended: Sequence[float], running: Sequence[float]) -> float:
    """The age that parts those of jobs that have ended from those of jobs that run with the fewest on the
    wrong side."""
    ended, running = sorted(ended), sorted(running)
    wrong = [place + len(running) - bisect_left(running, age) for place, age in enumerate(ended)]
    return ended[wrong.index(min(wrong))]
