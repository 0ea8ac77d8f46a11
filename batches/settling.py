"""Settling open attempts: reads the provider's history and decides what became of each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_imagine.batches.attempts import (
    Finding,
    Known,
    OpenAttempt,
    Verdict,
    Window,
    behind_at_most,
    covers,
    match,
    skew_of,
    window_of,
)
from prefect_imagine.batches.echoes import EchoClass, same
from prefect_imagine.batches.failpoints import resolving_is_off
from prefect_imagine.batches.lane import Lane
from prefect_imagine.batches.offload import Offload
from prefect_imagine.batches.records import Absent, Adopted, Refused, Unknown
from prefect_imagine.errors import (
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    UnexpectedResponseError,
    UnsupportedOperationError,
)
from prefect_imagine.providers.clock import boot_seconds, utc_now
from prefect_imagine.providers.models import Generation, HistoryPage

logger = logging.getLogger(__name__)

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


class Settler:
    """Settles one lane's open attempts.

    Attributes:
        next_read: boot clock of the moment for the next read of the history.
    """

    def __init__(self, lane: Lane, offload: Offload) -> None:
        self._lane = lane
        self._offload = offload
        self.next_read = 0.0

    async def settle(self) -> None:
        """Read the history once, and record what it says of open attempts. Raises `ProviderError`."""
        lane = self._lane
        attempts = [each for each in lane.open.values() if lane.quiet_since(each.echo, float("inf"))]
        self.next_read = boot_seconds() + self._until_next_read(attempts)
        if not attempts:
            return
        if resolving_is_off():
            for attempt in attempts:
                await self._absent(attempt)
            return
        classes: dict[EchoClass, list[OpenAttempt]] = {}
        for attempt in attempts:
            classes.setdefault(attempt.echo, []).append(attempt)
        try:
            if lane.client.capabilities.correlator:
                for group in classes.values():
                    await self._settle_groups([group], await self._read(group, self._prompt_of(group[0])))
            else:
                await self._settle_groups(list(classes.values()), await self._read(attempts, None))
        except UNUSABLE as error:
            await self._history_unusable(attempts, error)

    def _prompt_of(self, attempt: OpenAttempt) -> str:
        return self._lane.client.wire_prompt(self._lane.plan.item(attempt.item).request)

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
        known = self._known(attempts, prompt)
        asked_at = lane.asked_at()
        pages: list[HistoryPage] = []
        covered = False
        window = window_of(attempts, None, lane.timing.margin)
        async for page in lane.client.history(since=window.doubtful_from, prompt=prompt):
            pages.append(page)
            rows = [row for each in pages for row in each.generations]
            behind = behind_at_most(rows, lane.client.clock.now())
            window = window_of(attempts, skew_of(rows, asked_at), lane.timing.margin, behind)
            covered = covers(pages, window.doubtful_from, known)
            if covered:
                break
        return _Reading(begun, tuple(row for page in pages for row in page.generations), window, covered)

    def _known(self, attempts: Sequence[OpenAttempt], prompt: str | None) -> Known:
        """Our own jobs that a history must show, or of one prompt's rows those of that prompt."""
        lane = self._lane
        rank = min(attempt.known_before for attempt in attempts)
        first = min(attempt.provider_at for attempt in attempts)
        due = {
            job: asked_at
            for job, (item, asked_at) in lane.visible().items()
            if prompt is None or lane.client.wire_prompt(item.request) == prompt
        }
        return Known(
            before={job for job, place in lane.order.items() if place < rank},
            due={job for job, asked_at in due.items() if asked_at >= first},
            earlier={job for job, asked_at in due.items() if asked_at < first},
        )

    async def _settle_groups(self, groups: Sequence[Sequence[OpenAttempt]], reading: _Reading) -> None:
        lane = self._lane
        # Asked after the history was read: of any job it showed, the owner's intent is durable by now.
        claims = await self._offload(lane.neighbours.claims, lane.provider)
        by_mark = lane.client.capabilities.correlator
        unsettled = lane.unsettled() | claims.open_classes
        owned = lane.owned()
        own = [(row, lane.echo(owned[row.id])) for row in reading.rows if row.id in owned]
        taken = owned.keys() | claims.ids
        strangers = [
            row
            for row in reading.rows
            if row.id not in taken and not any(same(row, each) for each in unsettled)
        ]
        for group in groups:
            if not lane.quiet_since(group[0].echo, reading.begun):
                continue  # a job that was seen may be that of a create sent meanwhile
            findings = match(
                group,
                reading.rows,
                taken=taken,
                window=reading.window,
                echoes_correlator=by_mark,
                own=own,
                strangers=strangers,
            )
            taken |= {finding.job.id for finding in findings if finding.job is not None}
            contested = not by_mark and (group[0].echo in claims.open_classes or claims.incomplete)
            for finding in findings:
                await self._settle_one(finding, reading, contested=contested)

    async def _settle_one(self, finding: Finding, reading: _Reading, *, contested: bool) -> None:
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
            await self._absent(attempt)
        elif late and looked_long and not (not_seen and reading.covered):
            await self._unknown(attempt, _why(finding.verdict, contested=contested))

    async def _absent(self, attempt: OpenAttempt) -> None:
        lane = self._lane
        if lane.hopeless(attempt.item):
            message = "the provider failed each of its creates and accepted none, while it took others"
            logger.warning("item %s is given up: %s", attempt.item, message)
            await lane.record(
                Refused(
                    item=attempt.item,
                    at=utc_now(),
                    attempt=attempt.attempt,
                    final=True,
                    reason="not_accepted",
                    message=message,
                )
            )
            lane.open.pop(attempt.item, None)
            lane.tell()
            return
        await lane.record(Absent(item=attempt.item, at=utc_now(), attempt=attempt.attempt))
        lane.again(attempt.item)

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


def _why(verdict: Verdict, *, contested: bool) -> str:
    if contested:
        return "another batch may have created the same prompt, and the history cannot tell them apart"
    if verdict is Verdict.DOUBTFUL:
        return "the history shows a job that may be this one, told otherwise than it was asked for"
    if verdict is Verdict.AMBIGUOUS:
        return "the history shows more jobs of this prompt than this batch has asked for"
    return "the history does not reach back to the create, or lacks jobs that it must show"
