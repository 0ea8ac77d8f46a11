"""How long jobs take, by what looks at them have shown."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from statistics import median

TOLD = 50
LOOKS = 5
"""So many of the newest records, or looks, are what is believed."""


class Latencies:
    """How long jobs of one sort take.

    A record that says when its job began and ended tells it. Where none does, a look shows which ages had
    ended by then and which had not, and the age between these two tells it.
    """

    def __init__(self) -> None:
        self._told: deque[float] = deque(maxlen=TOLD)
        self._seen: deque[float] = deque(maxlen=LOOKS)

    def tell(self, seconds: float) -> None:
        """A record tells how long its job took."""
        self._told.append(seconds)

    def see(self, ended: Sequence[float], running: Sequence[float]) -> None:
        """A look has shown the ages of jobs that have ended since the one before, and of others that still
        run."""
        if ended:
            self._seen.append(turning_point(ended, running))

    @property
    def typical(self) -> float | None:
        """Seconds; `None` while nothing is known."""
        known = self._told or self._seen
        return median(known) if known else None


def turning_point(ended: Sequence[float], running: Sequence[float]) -> float:
    """The age that parts those of jobs that have ended from those of jobs that run with the fewest on the
    wrong side."""
    ended, running = sorted(ended), sorted(running)
    wrong = [place + len(running) - bisect_left(running, age) for place, age in enumerate(ended)]
    return ended[wrong.index(min(wrong))]
