"""How the stages of a run wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class WakeUp:
    """Wakes whoever waits when something has changed.

    Args:
        changed: is called each time.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._tell = changed
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._lines: list[Line] = []

    def notify(self) -> None:
        """Something changed: let everybody who waits for a condition look again."""
        self._changed.set()
        self._changed = asyncio.Event()
        self.move()
        self._tell()

    def move(self) -> None:
        """Let those in the lines look again, and nobody else."""
        for line in self._lines:
            line.move()

    def line(self, closed: Callable[[], bool]) -> Line:
        """A line that moves when something has changed."""
        line = Line(closed)
        self._lines.append(line)
        return line

    def wake(self) -> None:
        """Something changed that ends sleeps too: it should not wait for the next poll."""
        self._urgent.set()
        self.notify()

    async def wait_for(self, ready: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until a condition holds, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not ready():
                    await self._changed.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds, or until the next `wake`."""
        self._urgent.clear()
        with suppress(TimeoutError):
            # `asyncio.wait_for` of Python 3.11 loses a cancellation that comes with the wake-up.
            async with asyncio.timeout(seconds):
                await self._urgent.wait()


class Line:
    """Those who wait for a place among others, in order. While there is none, nobody is asked in vain: what
    changes meanwhile costs the same however many wait.

    Args:
        closed: whether there is a place for nobody, whoever it is.
    """

    def __init__(self, closed: Callable[[], bool]) -> None:
        self._closed = closed
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def wait(self, enter: Callable[[], bool]) -> None:
        """Wait until one may enter, and has.

        Args:
            enter: takes the place, where there is one for this one, and says whether it did. Whoever is
                cancelled may have taken it.
        """
        entered = asyncio.get_running_loop().create_future()
        self._waiting[entered] = enter
        try:
            self.move()
            await entered
        finally:
            self._waiting.pop(entered, None)

    def move(self) -> None:
        """Let those enter who may."""
        if not self._waiting or self._closed():
            return
        for entered, enter in list(self._waiting.items()):
            if self._closed():
                return
            if not entered.done() and enter():
                entered.set_result(None)
