"""How the stages of a run wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class WakeUp:
    """Wakes whoever waits when something has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()

    def notify(self) -> None:
        """Something changed: let everybody who waits for a condition look again."""
        self._changed.set()
        self._changed = asyncio.Event()

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
