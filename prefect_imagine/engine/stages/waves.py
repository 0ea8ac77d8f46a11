"""Waves of items: how many a wave takes, and how many waves of a stage are under way together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WAVES = 100
ITEMS_AT_ONCE = 16
GROWTH = 4
BRIEF, LONG = 1.0, 4.0
"""Seconds that a wave took: below the first the next takes twice as many items, above the second half."""


class Waves:
    """The waves of one stage. Each may be a task run, which a Prefect server spends its time on.

    So they are about a hundred in a run, however many items it has; where they end within a second, down to a
    quarter of that. A run of up to a hundred items has one for each.

    Args:
        expected: items of the run.
        now: seconds by a clock that never goes back.
    """

    def __init__(self, expected: int, now: Callable[[], float] = time.monotonic) -> None:
        self._least = max(1, expected // WAVES)
        self._most = self._least * (GROWTH if expected > WAVES else 1)
        self._now = now
        self._under_way = 0
        self._left = asyncio.Event()
        self.size = self._least
        """Items that the next wave takes."""

    async def enter(self) -> float:
        """Wait until one more wave may be under way; the time at which it is."""
        while self._under_way >= self._at_once:
            self._left.clear()
            await self._left.wait()
        self._under_way += 1
        return self._now()

    def leave(self, entered: float) -> None:
        """A wave has ended."""
        self._under_way -= 1
        self._left.set()
        took = self._now() - entered
        if took < BRIEF:
            self.size = min(self.size * 2, self._most)
        elif took > LONG:
            self.size = max(self.size // 2, self._least)

    @property
    def _at_once(self) -> int:
        # Of larger waves one more begins while the last items of another are ending.
        return max(1, ITEMS_AT_ONCE // self.size) + (self.size > 1)
