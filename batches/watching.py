"""The poll stage: follows everything under way in bulk, and settles open attempts from the history."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from prefect_imagine.batches.attempts import (
    EchoClass,
    Finding,
    OpenAttempt,
    Verdict,
    Window,
    covers,
    match,
    skew_of,
    window_of,
)
from prefect_imagine.batches.failpoints import resolving_is_off
from prefect_imagine.batches.lane import Lane, StopReason
from prefect_imagine.batches.offload import Offload
from prefect_imagine.batches.records import Absent, Adopted, AnyItemRecord, Failed, Finished, Unknown
from prefect_imagine.batches.state import Phase
from prefect_imagine.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    UnexpectedResponseError,
    UnsupportedOperationError,
)
from prefect_imagine.providers.clock import boot_seconds, utc_now
from prefect_imagine.providers.failures import is_moderation
from prefect_imagine.providers.http import backoff
from prefect_imagine.providers.models import Generation, GenerationStatus, HistoryPage

logger = logging.getLogger(__name__)

MISSES = 5
# What one read cannot tell gets this part of the proof's wait to clear up.
GIVE_UP = 0.5
UNUSABLE = (NotFoundError, InvalidRequestError, UnexpectedResponseError, UnsupportedOperationError)


@dataclass(frozen=True)
class _Reading:
    """One read of the history. `begun`: boot clock; `covered`: whether it shows all jobs of its window."""

    begun: float
    rows: tuple[Generation, ...]
    window: Window
    covered: bool


class Watcher:
    """Follows one lane's jobs until there is nothing left to follow."""

    def __init__(self, lane: Lane, offload: Offload) -> None:
        self._lane = lane
        self._offload = offload
        self._misses: Counter[str] = Counter()
        self._next_look = math.inf
        self._next_history = 0.0
        self._troubles = 0

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
                if lane.open and boot_seconds() >= self._next_history:
                    await self._patiently(self._settle_open())
                await lane.journal.snapshot()
        finally:
            lane.watching = False
            lane.tell()

    async def _wait(self) -> None:
        lane = self._lane
        now = boot_seconds()
        in_tail = not lane.creating or lane.full()
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
            wait = min(wait, max(0.0, self._next_history - now))
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
        flying = dict(lane.flying)
        seen = await lane.client.poll(list(flying))
        lane.reads_pass = True
        landed = [row for job, row in seen.items() if job in flying and row.status.terminal]
        entries: list[AnyItemRecord] = [await self._finished(flying[row.id].item, row) for row in landed]
        for row in landed:
            lane.cadence.learn(flying[row.id], row.lasted)
        entries += self._given_up(set(flying) - seen.keys())
        if not entries:
            return
        await lane.record(*entries)
        for entry in entries:
            lane.flying.pop(lane.state(entry.item).id or "", None)
            if lane.state(entry.item).phase is Phase.FINISHED:
                lane.ready.append(entry.item)
        lane.tell()

    def _given_up(self, missing: set[str]) -> list[AnyItemRecord]:
        lane = self._lane
        self._misses.update(missing)
        entries: list[AnyItemRecord] = []
        for job, flight in lane.flying.items():
            if job in missing and self._misses[job] >= MISSES:
                message = f"{lane.provider} does not know generation {job} any more"
                entries.append(Failed(item=flight.item, at=utc_now(), reason="vanished", message=message))
            elif flight.overdue:
                message = f"generation {job} has not ended; a later run looks again"
                entries.append(Failed(item=flight.item, at=utc_now(), reason="timeout", message=message))
        return entries

    async def _finished(self, index: int, row: Generation) -> Finished:
        known = next((each for each in self._lane.state(index).charges if each.id == row.id), None)
        charged = known.credits if known is not None else None
        refund = None
        if row.status is not GenerationStatus.SUCCEEDED:
            row = await self._fresh(row)
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
        """A failed job's record again: it may show a refund that the list did not."""
        try:
            fresh = await self._lane.client.fetch(row.id)
        except ProviderError:
            return row
        return fresh if fresh.status.terminal else row

    async def _settle_open(self) -> None:
        lane = self._lane
        attempts = [each for each in lane.open.values() if lane.quiet_since(each.echo, float("inf"))]
        self._next_history = boot_seconds() + self._until_next_read(attempts)
        if not attempts:
            return
        if resolving_is_off():
            for attempt in attempts:
                await lane.record(Absent(item=attempt.item, at=utc_now(), attempt=attempt.attempt))
                lane.again(attempt.item)
            return
        classes: dict[EchoClass, list[OpenAttempt]] = {}
        for attempt in attempts:
            classes.setdefault(attempt.echo, []).append(attempt)
        try:
            if lane.client.capabilities.correlator:
                for echo, group in classes.items():
                    await self._settle_classes([group], await self._read(group, echo[2]))
            else:
                await self._settle_classes(list(classes.values()), await self._read(attempts, None))
        except UNUSABLE as error:
            await self._history_unusable(attempts, error)

    def _until_next_read(self, attempts: Sequence[OpenAttempt]) -> float:
        """Seconds to the next read of the history: soon after the intent, then at growing intervals, and
        at the moment when it can prove absence."""
        proof = self._lane.timing.absent_after
        ages = [each.age for each in attempts]
        step = min(proof / 4, max(proof / 30, min(1.0, proof / 6), min(ages, default=0.0)))
        to_proof = min((proof - age for age in ages if age < proof), default=step)
        return max(0.05, min(step, to_proof))

    async def _read(self, attempts: Sequence[OpenAttempt], prompt: str | None) -> _Reading:
        """The history from its newest page back to where it covers all of these attempts."""
        lane = self._lane
        begun = boot_seconds()
        known = min(attempt.known_before for attempt in attempts)
        anchors = {job for job, place in lane.order.items() if place < known}
        asked_at = lane.asked_at()
        pages: list[HistoryPage] = []
        covered = False
        window = window_of(attempts, None, lane.timing.margin)
        async for page in lane.client.history(since=window.doubtful_from, prompt=prompt):
            pages.append(page)
            rows = [row for each in pages for row in each.generations]
            window = window_of(attempts, skew_of(rows, asked_at), lane.timing.margin)
            covered = covers(pages, window.begins, anchors)
            if covered:
                break
        return _Reading(begun, tuple(row for page in pages for row in page.generations), window, covered)

    async def _settle_classes(self, groups: Sequence[Sequence[OpenAttempt]], reading: _Reading) -> None:
        lane = self._lane
        # Asked after the history was read: of any job it showed, the owner's intent is durable by now.
        claims = await self._offload(lane.neighbours.claims, lane.provider)
        by_mark = lane.client.capabilities.correlator
        for group in groups:
            if not lane.quiet_since(group[0].echo, reading.begun):
                continue  # a job that was seen may be that of a create sent meanwhile
            findings = match(
                group,
                reading.rows,
                taken=lane.owned_ids() | claims.ids,
                window=reading.window,
                echoes_correlator=by_mark,
            )
            contested = group[0].echo in claims.open_classes and not by_mark
            for finding in findings:
                await self._settle(finding, reading, contested=contested)

    async def _settle(self, finding: Finding, reading: _Reading, *, contested: bool) -> None:
        lane = self._lane
        attempt = finding.attempt
        if finding.verdict is Verdict.ADOPT and finding.job is not None and not contested:
            await self._adopt(attempt, finding.job)
            return
        proof = lane.timing.absent_after
        late = reading.begun - attempt.since >= proof
        looked_long = reading.begun - attempt.looking_since >= proof * GIVE_UP
        looked = attempt.looked(covered=reading.covered, late=late)
        lane.open[attempt.item] = looked
        not_seen = finding.verdict is Verdict.NOT_SEEN
        if not_seen and looked.confirmed:
            await lane.record(Absent(item=attempt.item, at=utc_now(), attempt=attempt.attempt))
            lane.again(attempt.item)
        elif late and looked_long and not (not_seen and reading.covered):
            await self._unknown(attempt, _why(finding.verdict, contested=contested))

    async def _adopt(self, attempt: OpenAttempt, job: Generation) -> None:
        lane = self._lane
        logger.info("item %s: its job %s was found in the history", attempt.item, job.id)
        await lane.record(
            Adopted(item=attempt.item, at=utc_now(), attempt=attempt.attempt, id=job.id, credits=job.credits)
        )
        lane.open.pop(attempt.item, None)
        lane.flying[job.id] = lane.flight(lane.plan.item(attempt.item))
        lane.tell()

    async def _history_unusable(self, attempts: Sequence[OpenAttempt], error: ProviderError) -> None:
        lane = self._lane
        if lane.history_usable:
            logger.warning("%s: the history cannot be used: %s", lane.provider, error)
        lane.history_usable = False
        for attempt in attempts:
            if attempt.looks >= 2:
                await self._unknown(attempt, f"the history cannot be used: {error}")
            else:
                lane.open[attempt.item] = attempt.looked(covered=False, late=False)

    async def _unknown(self, attempt: OpenAttempt, message: str) -> None:
        lane = self._lane
        logger.error("item %s may have been paid for: %s", attempt.item, message)
        await lane.record(Unknown(item=attempt.item, at=utc_now(), attempt=attempt.attempt, message=message))
        lane.hurry()


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


def _why(verdict: Verdict, *, contested: bool) -> str:
    if contested:
        return "another batch has a create of the same prompt open, and the history cannot tell them apart"
    if verdict is Verdict.AMBIGUOUS:
        return "the history shows more jobs of this prompt than this batch has asked for"
    return "the history does not reach back to the create"
