"""What is due when by the sandbox's clock, and whoever does it at that time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from prefect_imagine.sandbox.core.clock import Clock

Action = Callable[[], None]


class Agenda:
    """Actions by the moment they are due at. Waiting costs nothing, and goes by real time between jumps of
    the clock, which `wake` has to tell. All but `run` may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Action]] = []
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def at(self, moment: float, action: Action) -> None:
        """Do this at that moment (epoch seconds); of one moment in the order of the calls."""
        with self._lock:
            entry = (moment, next(self._order), action)
            heapq.heappush(self._heap, entry)
            is_first = self._heap[0] is entry
        if is_first:
            self.wake()

    def clear(self) -> None:
        with self._lock:
            self._heap.clear()

    def wake(self) -> None:
        """Look again at what is due."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Do what is due until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._woken.clear()
                for action in self._due():
                    action()
                # On Python 3.11 `wait_for` would lose a cancellation that comes together with `wake`.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._wait()):
                        await self._woken.wait()
        finally:
            self._loop = None

    def _due(self) -> Iterator[Action]:
        while True:
            with self._lock:
                if not self._heap or self._heap[0][0] > self._clock.now():
                    return
                action = heapq.heappop(self._heap)[2]
            yield action

    def _wait(self) -> float | None:
        """Seconds until the next is due; None when nothing ever will be."""
        with self._lock:
            return max(0.0, self._heap[0][0] - self._clock.now()) if self._heap else None
