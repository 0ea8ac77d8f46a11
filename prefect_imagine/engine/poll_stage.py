"""The poll stage: follows everything under way in bulk, and has open attempts settled meanwhile."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Mapping

from prefect_imagine.backoff import backoff
from prefect_imagine.batches.blocking import Offload
from prefect_imagine.batches.records import AnyItemRecord, Failed, Finished
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.cadence import Flight
from prefect_imagine.engine.provider_run import Lane
from prefect_imagine.engine.reconciler import Settler
from prefect_imagine.errors import (
    AuthenticationError,
    ProviderError,
)
from prefect_imagine.providers.models import Generation, GenerationStatus
from prefect_imagine.providers.transport.failures import is_moderation

logger = logging.getLogger(__name__)

MISSES = 5
VANISHED = "vanished"
OVERDUE_SECONDS = 60.0
"""Between looks at jobs that the run does not wait for any more."""
UNTOLD = 3
"""Records in a row without a cost, after which none is asked for only to learn it."""


class Watcher:
    """Follows one lane's jobs until there is nothing left to follow."""

    def __init__(self, lane: Lane, offload: Offload) -> None:
        self._lane = lane
        self._settler = Settler(lane, offload)
        self._misses: Counter[str] = Counter()
        self._next_look = math.inf
        self._troubles = 0
        self._told_nothing = 0
        self._overdue_look = 0.0

    async def run(self) -> None:
        """Look, at a cadence that spares the rate limit, until all have landed or the run has stopped."""
        lane = self._lane
        try:
            while not lane.finished:
                await self._wait()
                if lane.gone:
                    await lane.until(lambda: not lane.in_air)
                    return
                if lane.flying and boot_seconds() >= self._next_look:
                    await self._patiently(self.look())
                    self._next_look = math.inf
                if lane.open and boot_seconds() >= self._settler.next_read:
                    await self._patiently(self._settler.settle())
                await lane.journal.snapshot()
        finally:
            lane.watching = False
            lane.tell()

    async def _wait(self) -> None:
        lane = self._lane
        now = boot_seconds()
        in_tail = not lane.creating or lane.full() or lane.held
        wait = lane.cadence.wait(
            lane.flying.values(),
            creating=not in_tail,
            scarce=lane.client.pacer.limited,
            full_in=self._full_in(),
        )
        # Thinking again never puts a look off: what hurries it along may come again and again.
        self._next_look = min(self._next_look if lane.flying else math.inf, now + wait)
        wait = max(0.0, self._next_look - now)
        if lane.open:
            wait = min(wait, max(0.0, self._settler.next_read - now))
        elif not lane.flying:
            # Nothing to look at yet: whatever comes up hurries this along or is seen in a moment.
            wait = min(wait, 1.0)
        if wait > 0:
            await lane.pause(wait)
            if boot_seconds() < now + wait:
                return  # hurried: think again about when to look

    def _full_in(self) -> float | None:
        """Seconds until creates fill the queue that the provider was found to have."""
        lane = self._lane
        if lane.cap is None or not lane.creating:
            return None
        room = int(lane.cap) - len(lane.flying) - len(lane.in_air)
        return max(0, room) * lane.client.pacer.seconds_per_request

    async def _patiently(self, work: Awaitable[None]) -> None:
        lane = self._lane
        try:
            await work
        except AuthenticationError as error:
            lane.halt(StopReason.GONE, f"the key is not accepted any more: {error}")
        except ProviderError as error:
            self._troubles += 1
            if lane.trouble.over():
                lane.halt(StopReason.GONE, f"no usable answer for too long: {error}")
                return
            logger.warning("%s: looking again later: %s", lane.provider, error)
            await asyncio.sleep(backoff(min(self._troubles, 5)))
        else:
            self._troubles = 0
            lane.trouble.clear()

    async def look(self) -> None:
        """Look once at everything under way, and write down what has ended."""
        lane = self._lane
        followed = {**self._overdue_again(), **lane.flying}
        seen = await lane.client.poll(list(followed))
        lane.reads_pass = True
        if seen and not lane.readable:
            lane.readable = True
            lane.tell()
        landed = [row for job, row in seen.items() if job in followed and row.status.terminal]
        entries: list[AnyItemRecord] = [await self._finished(followed[row.id].item, row) for row in landed]
        for row in landed:
            lane.cadence.learn(followed[row.id], row.lasted)
        entries += self._given_up(seen)
        if not entries:
            return
        await lane.record(*entries)
        for entry in entries:
            self._let_go(entry)
        unseen = any(isinstance(entry, Failed) and entry.reason == VANISHED for entry in entries)
        if unseen and lane.client.lists_refused and not lane.readable:
            lane.halt(StopReason.UNREADABLE, f"{lane.provider}: this key may not read what it creates")
        lane.tell()

    def _overdue_again(self) -> dict[str, Flight]:
        """Jobs that are overdue, when it is time to look at them once more beside the others."""
        lane = self._lane
        if not lane.overdue or boot_seconds() < self._overdue_look:
            return {}
        self._overdue_look = boot_seconds() + OVERDUE_SECONDS
        return dict(lane.overdue)

    def _let_go(self, entry: AnyItemRecord) -> None:
        lane = self._lane
        state = lane.state(entry.item)
        flight = lane.flying.pop(state.id or "", None)
        if state.phase is Phase.FINISHED:
            lane.overdue.pop(state.id or "", None)
            lane.ready.append(entry.item)
        elif state.phase is Phase.CREATED and state.id and flight is not None:
            lane.overdue[state.id] = flight

    def _given_up(self, seen: Mapping[str, Generation]) -> list[AnyItemRecord]:
        """What is not waited for any longer of all that has not ended."""
        lane = self._lane
        settled = boot_seconds() - lane.timing.settle
        under_way = {
            job: flight
            for job, flight in lane.flying.items()
            if job not in seen or not seen[job].status.terminal
        }
        self._misses.update(
            job for job, each in under_way.items() if job not in seen and each.since < settled
        )
        entries: list[AnyItemRecord] = []
        for job, flight in under_way.items():
            if job not in seen and self._misses[job] >= MISSES:
                message = f"{lane.provider} does not know generation {job} any more"
                entries.append(Failed(item=flight.item, at=utc_now(), reason=VANISHED, message=message))
            elif flight.overdue(lane.timing.longest(flight.kind)):
                message = f"generation {job} has not ended; a later run looks again"
                entries.append(Failed(item=flight.item, at=utc_now(), reason="timeout", message=message))
        return entries

    async def _finished(self, index: int, row: Generation) -> Finished:
        known = next((each for each in self._lane.state(index).charges if each.id == row.id), None)
        charged = known.credits if known is not None else None
        refund = None
        # A list may leave out what the record has: a refund, or the cost of a job found in the history.
        untold = row.credits is None and charged is None and self._lane.client.capabilities.credits_on_create
        if (untold and self._told_nothing < UNTOLD) or row.status is not GenerationStatus.SUCCEEDED:
            row = await self._fresh(row)
            if untold:
                self._told_nothing = self._told_nothing + 1 if row.credits is None else 0
        if row.status is not GenerationStatus.SUCCEEDED:
            refund = _refund(charged, row)
        failed = row.status is not GenerationStatus.SUCCEEDED
        message = row.error or f"the provider ended it as {row.provider_status!r}"
        return Finished(
            item=index,
            at=utc_now(),
            id=row.id,
            status=row.status,
            credits=row.credits,
            refund=refund,
            outputs=() if failed else row.outputs,
            reason=_failure_reason(row) if failed else None,
            message=message if failed else None,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    async def _fresh(self, row: Generation) -> Generation:
        """A job's record again, in full; as it was where it cannot be had."""
        try:
            fresh = await self._lane.client.fetch(row.id)
        except ProviderError:
            return row
        return fresh if fresh.status.terminal else row


def _refund(charged: int | float | None, row: Generation) -> str | None:  # the words of `Finished.refund`
    if charged is None or row.credits is None:
        return "unknown"
    if row.credits == 0:
        return "full"
    return "partial" if row.credits < charged else "unknown"


def _failure_reason(row: Generation) -> str:
    if row.error and is_moderation(row.error):
        return "moderation"
    return "cancelled" if row.status is GenerationStatus.CANCELLED else "provider_failed"
