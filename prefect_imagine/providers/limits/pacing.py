"""A `Pacer` keeps everybody who uses one key on this machine inside the key's rate limit."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, TypeVar
from uuid import uuid4

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits import measuring, rates
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.limits.measuring import Measured
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.pace_store import MemoryPaceStore, PaceStore
from prefect_imagine.providers.limits.rates import Rate

logger = logging.getLogger(__name__)
T = TypeVar("T")
MAX_DOUBTS = 3
"""Refusals of which it is found out whether they were about the rate: where a rate lets a request pass every
moment, it looks like a queue in which a place has just come free."""
REFUSED_WITHIN = 2.0
"""Seconds after which a request that has no answer yet will hardly be refused any more."""


class Priority(StrEnum):
    """Reads go before creates: one list answer shows a hundred jobs."""

    READ = "read"
    CREATE = "create"


@dataclass(frozen=True)
class Permit:
    """Leave to send one request now.

    Attributes:
        doubts: it was given in spite of a refusal, to see whether that was about the rate.
    """

    priority: Priority
    granted_at: float
    doubts: bool = False


class SharedLimit(Protocol):
    """Keeps the processes of all machines inside a key's limit together."""

    async def acquire(self, priority: Priority) -> None:
        """Wait for a slot."""


class Pacer:
    """Hands out permits for one key, reads before creates, as fast as the limit allows.

    Attributes:
        refused: how many requests were refused for the rate so far.
        passed_in_doubt: how many reads have passed that went out in spite of a refusal.

    Args:
        cell: where the pace is kept.
        rate: a rate to keep where the provider's headers name none.
        shared: an additional limit over all machines; asked only while no headers set the pace.
    """

    def __init__(
        self, cell: PaceStore | None = None, *, rate: Rate | None = None, shared: SharedLimit | None = None
    ) -> None:
        self._cell = cell or MemoryPaceStore()
        self._rate = rate
        self._shared = shared
        self._queues = {priority: asyncio.Lock() for priority in Priority}
        self._reads_waiting = 0
        self._in_doubt = False
        self._doubts = MAX_DOUBTS
        self._flying: list[float] = []
        self._news = asyncio.Event()
        self.refused = self.passed_in_doubt = 0

    async def acquire(self, priority: Priority, *, demand: int = 0) -> Permit:
        """Wait for leave to send one request. `demand`: how many more the caller is going to want."""
        self._reads_waiting += priority is Priority.READ
        try:
            # One of each at a time, in the shared limit too: a read waits behind one create at most.
            async with self._queues[priority]:
                return await self._permit(priority, demand)
        finally:
            self._reads_waiting -= priority is Priority.READ
            self._tell()

    async def _permit(self, priority: Priority, demand: int) -> Permit:
        permit = await self._own_permit(priority, demand)
        if self._shared is None or self.led_by_headers:
            return permit
        try:
            await self._shared.acquire(priority)
        except BaseException:
            self.release(permit)
            raise
        if permit.doubts:
            return permit
        if self._frozen_since(permit):
            self.release(permit)
            return await self._own_permit(priority, demand)
        self._landed(permit)
        return self._granted(priority)

    async def _own_permit(self, priority: Priority, demand: int) -> Permit:
        """Leave from this machine's pace."""
        while not (priority is Priority.READ and self._in_doubt):
            wait = self._reserve(priority, demand)
            if wait <= 0:
                return self._granted(priority)
            await self._sleep(wait)
        return self._granted_in_doubt()

    def _frozen_since(self, permit: Permit) -> bool:
        """Whether a 429 has come since a permit was given."""
        return self._cell.update(lambda pace: (pace, pace.frozen_at > permit.granted_at))

    @property
    def led_by_headers(self) -> bool:
        """Whether the provider's own headers set the pace."""
        return self._cell.update(lambda pace: (pace, pace.by_headers))

    @property
    def limited(self) -> bool:
        """Whether requests are scarce: a limit is known, configured or was met."""
        return self._rate is not None or self._cell.update(
            lambda pace: (pace, pace.by_headers or pace.interval > 0)
        )

    @property
    def divides(self) -> bool:
        """Whether it knows a limit that it can keep to a part of: one that headers tell, or that it was told
        and that nothing else keeps over all machines."""
        return self.led_by_headers or (self._rate is not None and self._shared is None)

    @property
    def seconds_per_request(self) -> float:
        """How long one request takes of the limit; 0 where none is known."""

        def read(pace: Pace) -> tuple[Pace, float]:
            if pace.by_headers:
                span = max(0.0, pace.reset_at - boot_seconds())
                return pace, span / max(1, pace.left) if pace.left > 0 else span
            return pace, max(pace.interval, self._rate.interval if self._rate else 0.0)

        return self._cell.update(read)

    @property
    def limit(self) -> Rate | None:
        """What the key may send, as far as that is known. Of the window that headers tell, what was seen."""

        def read(pace: Pace) -> tuple[Pace, Rate | None]:
            if pace.by_headers:
                return pace, Rate(pace.limit, pace.window) if pace.window else None
            return pace, Rate(1, pace.interval) if pace.interval else self._rate

        return self._cell.update(read)

    @property
    def window(self) -> float:
        """The longest time that was seen from an answer to its window's reset, in seconds."""
        return self._cell.update(lambda pace: (pace, pace.window))

    @property
    def machine(self) -> str:
        """Names this machine among those that use the key: all processes that share its pace are one."""

        def named(pace: Pace) -> tuple[Pace, str]:
            pace = pace if pace.machine else replace(pace, machine=uuid4().hex)
            return pace, pace.machine

        return self._cell.update(named)

    @property
    def machines(self) -> int:
        """How many use the key, with this one, as far as it was told."""
        return self._cell.update(lambda pace: (pace, pace.machines))

    def share_with(self, others: int, window: float) -> None:
        """Keep to an equal part of the limit from now on.

        Args:
            others: how many other machines use the key.
            window: the longest that any of them has seen, in seconds.
        """
        self._change(lambda pace: replace(pace, machines=1 + others, window=max(pace.window, window)))

    def begin_with(self, known: Measured) -> None:
        """Go on from what was measured before, unless more is known by now."""
        self._change(lambda pace: measuring.begun_with(pace, known))

    @property
    def measured(self) -> Measured | None:
        """The limit as 429s have measured it; `None` where none was met, or headers tell it."""
        return self._cell.update(lambda pace: (pace, measuring.measured(pace)))

    def answered(
        self, permit: Permit, status: int, headers: Mapping[str, str], *, queue_full: bool = False
    ) -> None:
        """Learn from the answer that came for a permit. `queue_full`: it says that too many jobs are pending,
        which is no matter of the rate: the caller deals with it."""
        self._landed(permit)
        reported = RateHeaders.of(headers, time.time())
        now = boot_seconds()
        if status == 429 and not queue_full:
            self.refused += 1
            self._doubts = 0 if permit.doubts else self._doubts
            self._change(lambda pace: rates.refused(pace, now, reported, permit.granted_at))
        else:
            created = status < 300 and permit.priority is Priority.CREATE
            self._change(
                lambda pace: rates.answered(
                    pace, now, reported, created=created, granted_at=permit.granted_at
                )
            )
            if permit.doubts:
                self.passed_in_doubt += 1
                self.undo_backoff()

    def keep_below(self, rate: Rate) -> None:
        """Keep another rate from now on where the provider's headers name none."""
        self._rate = rate
        self._change(lambda pace: pace if pace.by_headers else replace(pace, interval=rate.interval))
        self._tell()

    def doubt(self) -> None:
        """The last refusal may have been about jobs: the next read goes out at once, and nobody waits any
        longer if it passes. Where a rate is known, or was found in this way, it is believed."""
        if self._doubts and not self._in_doubt and not self.limited:
            self._doubts -= 1
            self._in_doubt = True
            self._tell()

    def undo_backoff(self) -> None:
        """The last 429s were about pending jobs, not about the rate: they slow nobody down."""
        self._change(lambda pace: rates.without_backoff(pace, boot_seconds()))

    def throttled(self, sent_at: float, retry_after: float | None) -> None:
        """A request of this key that took no permit, such as one for media, was refused for the rate.

        Args:
            sent_at: boot clock of the moment when it was sent.
            retry_after: seconds to wait, where the server says so.
        """
        self.refused += 1
        reported = RateHeaders(retry_after=retry_after)
        now = boot_seconds()
        self._change(
            lambda pace: rates.refused(replace(pace, in_flight=pace.in_flight + 1), now, reported, sent_at)
        )

    def release(self, permit: Permit) -> None:
        """Nothing came back for a permit, or it was not used."""
        self._landed(permit)
        self._change(rates.lost)

    def _reserve(self, priority: Priority, demand: int) -> float:
        if priority is Priority.CREATE and self._reads_waiting:
            return 0.05
        # A read that waited for creates to land could wait for one that waits for it.
        flying = self._unanswered if priority is Priority.CREATE else 0
        return self._cell.update(
            lambda pace: rates.reserve(self._rated(pace), boot_seconds(), demand=demand, flying=flying)
        )

    @property
    def _unanswered(self) -> int:
        """Requests that may still be refused: also where a create is answered when its job has ended, a
        refusal comes soon."""
        return sum(boot_seconds() - sent < REFUSED_WITHIN for sent in self._flying)

    def _granted(self, priority: Priority) -> Permit:
        permit = Permit(priority, boot_seconds())
        self._flying.append(permit.granted_at)
        return permit

    def _granted_in_doubt(self) -> Permit:
        """Leave to send a read in spite of a refusal. Its answer counts like those of the requests that were
        under way when that came: it neither ends the pause nor makes it longer."""
        self._in_doubt = False
        refused_at = self._cell.update(
            lambda pace: (replace(pace, in_flight=pace.in_flight + 1), pace.frozen_at)
        )
        permit = Permit(Priority.READ, math.nextafter(refused_at, -math.inf), doubts=True)
        self._flying.append(permit.granted_at)
        return permit

    def _landed(self, permit: Permit) -> None:
        with suppress(ValueError):
            self._flying.remove(permit.granted_at)

    def _rated(self, pace: Pace) -> Pace:
        if self._rate is None or pace.by_headers:
            return pace
        # What all machines send together is kept within the rate by a shared limit, where there is one.
        least = self._rate.interval * (pace.machines if self._shared is None else 1)
        return replace(pace, interval=max(pace.interval, least))

    def _change(self, change: Callable[[Pace], Pace]) -> None:
        self._cell.update(lambda pace: (change(pace), None))
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            # `asyncio.wait_for` of Python 3.11 loses a cancellation that comes with the news.
            async with asyncio.timeout(seconds):
                await self._news.wait()
