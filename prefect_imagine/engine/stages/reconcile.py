"""Settling open attempts: reads the provider's history and decides what became of each."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import timedelta

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.records import Absent, Adopted, Refused, Unanswered, Unknown, Withdrawn
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.history.attempts import Finding, OpenAttempt, Verdict
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.judgement import judge
from prefect_imagine.engine.history.rivals import Rivals
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.stages.evidence import gather
from prefect_imagine.engine.stages.history_reader import HistoryReader, Reading
from prefect_imagine.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    UnexpectedResponseError,
    UnsupportedOperationError,
)
from prefect_imagine.providers.models import Generation, Mark

logger = logging.getLogger(__name__)

LOOKS = (0.0, 1 / 6, 1 / 2)
"""When to look for an attempt before absence can be proven, in parts of the time that a proof takes."""
BETWEEN_READS = 1 / 12
AFTER_PROOF = 1 / 4
GROWTH, MOST_GROWTH = 1.25, 12
MOST_HELD_UP = 24
"""Reads for which others' creates may keep an attempt from being settled: of the usual proof, 90 minutes."""
FORBIDDEN = 403
# What one read cannot tell gets this part of the proof's wait to clear up.
GIVE_UP = 0.5
UNUSABLE = (NotFoundError, InvalidRequestError, UnexpectedResponseError, UnsupportedOperationError)


class Reconciler:
    """Settles one run's open attempts."""

    def __init__(self, run: ProviderRun, blocking: Blocking) -> None:
        self._run = run
        self._blocking = blocking
        self._history = HistoryReader(run, blocking)
        self._last_read = -math.inf

    @property
    def next_read(self) -> float:
        """Boot clock of the moment for the next read of the history, which is read for all attempts at once:
        when the first of them is due, but not before the last read is some seconds old."""
        proof = self._run.timing.absent_after
        due = min((self._due(each, proof) for each in self._run.queues.open.values()), default=math.inf)
        return max(due, self._last_read + proof * BETWEEN_READS)

    def _due(self, attempt: OpenAttempt, proof: float) -> float:
        """When an attempt wants the next look: at once, twice on the way, when absence can be proven, and at
        intervals after that until it has been, or is given up: longer ones where others hold it up."""
        if attempt.looks < len(LOOKS):
            return attempt.since + LOOKS[attempt.looks] * proof
        interval = proof * AFTER_PROOF * GROWTH ** min(attempt.held_up, MOST_GROWTH)
        return max(attempt.since + proof, self._last_read + interval)

    async def reconcile(self) -> None:
        """Read the history once, and record what it says of open attempts. Raises `ProviderError`."""
        run = self._run
        run.reconciling = True
        try:
            await self._reconcile()
        finally:
            run.reconciling = False

    async def _reconcile(self) -> None:
        run = self._run
        self._last_read = boot_seconds()
        attempts = [
            each for each in run.queues.open.values() if run.admission.quiet_since(each.identity, math.inf)
        ]
        if attempts:
            with run.trace.reconcile(run.provider, attempts, run.state):
                await self._settle(attempts)

    async def _settle(self, attempts: Sequence[OpenAttempt]) -> None:
        run = self._run
        if not run.client.capabilities.history:
            for attempt in attempts:
                await self._unknown(attempt, f"{run.provider} shows no job whose create was not answered")
            return
        await self._disclaim_answers(attempts)
        classes: dict[RequestIdentity, list[OpenAttempt]] = {}
        for attempt in attempts:
            classes.setdefault(attempt.identity, []).append(attempt)
        # The rows of a single prompt show most jobs, with one request; later looks read the list.
        first = all(each.looks == 0 for each in attempts)
        alone = run.client.capabilities.mark is Mark.ECHOED and len(classes) == 1 and first
        try:
            reading = await self._history.read(attempts, self._prompt_of(attempts[0]) if alone else None)
            await self._settle_groups(list(classes.values()), reading)
        except UNUSABLE as error:
            await self._history_unusable(attempts, error)
        except AuthenticationError as error:
            if error.status_code != FORBIDDEN:
                raise
            await self._history_unusable(attempts, error)

    async def _disclaim_answers(self, attempts: Sequence[OpenAttempt]) -> None:
        """Say that nobody waits for these creates' answers: others may claim a job that would do for both."""
        run = self._run
        states = ((each, run.state(each.item)) for each in attempts)
        awaited = [each for each, state in states if state.phase is Phase.OPEN and not state.unanswered]
        if awaited:
            at = utc_now()
            await run.record(*(Unanswered(item=each.item, at=at, attempt=each.attempt) for each in awaited))

    def _prompt_of(self, attempt: OpenAttempt) -> str:
        return self._run.client.wire_prompt(self._run.shards.item(attempt.item).request)

    async def _settle_groups(self, groups: Sequence[Sequence[OpenAttempt]], reading: Reading) -> None:
        run = self._run
        known = await gather(run, self._blocking, reading, groups)
        judged = await self._blocking.once(judge, groups, known.evidence)
        for group, findings in zip(groups, judged, strict=True):
            identity = group[0].identity
            if not run.admission.quiet_since(identity, reading.begun):
                continue  # a job that was seen may be that of a create sent meanwhile
            for finding in findings:
                await self._settle_one(finding, reading, known.rivals[identity])

    async def _settle_one(self, finding: Finding, reading: Reading, rivals: Rivals) -> None:
        contested = rivals.contest and not _marked(finding)
        if finding.verdict is Verdict.ADOPT and not contested:
            job = await self._claimed(finding)
            if job is not None:
                await self._adopt(finding.attempt, job)
                return
            contested = True
        attempt = finding.attempt
        if contested and attempt.held_up < MOST_HELD_UP and self._still_creates(rivals):
            attempt = attempt.held(reading.begun)
        await self._look_again(attempt, finding.verdict, reading, contested=contested)

    async def _look_again(
        self, attempt: OpenAttempt, verdict: Verdict, reading: Reading, *, contested: bool
    ) -> None:
        """Look again later, unless this read proves its job's absence, or ends a search that was too long."""
        run = self._run
        proof = run.timing.absent_after
        late = reading.begun - attempt.since >= proof
        looked_long = reading.begun - attempt.looking_since >= proof * GIVE_UP
        looked = attempt.looked(covered=reading.covered, late=late)
        run.queues.open[attempt.item] = looked
        not_seen = verdict is Verdict.NOT_SEEN
        if not_seen and looked.confirmed:
            await self._not_there(attempt, reading)
        elif late and looked_long and not (not_seen and reading.covered):
            await self._unknown(attempt, _why(verdict, contested=contested))

    async def _claimed(self, finding: Finding) -> Generation | None:
        """The job that is this attempt's from now on: others whose creates were not answered either may see
        the same one, and the first to claim it has it. `None` where they have claimed all that would do."""
        run = self._run
        if finding.job is None or _marked(finding):
            return finding.job
        shard = run.shards.of(finding.attempt.item).number
        for job in (finding.job, *finding.spare):
            known = job.id in run.jobs.order
            if not known and await self._blocking(run.other_batches.claim, run.provider, job.id, shard):
                return job
        return None

    def _still_creates(self, rivals: Rivals) -> bool:
        """Whether a rival lives that sends creates of the same class: once it has sent them, or has lost one
        too, the history tells their jobs apart."""
        timing = self._run.timing
        longest = timedelta(seconds=timing.deadline + timing.create)
        return rivals.awaited is not None and self._run.client.clock.now() - rivals.awaited <= longest

    async def _not_there(self, attempt: OpenAttempt, reading: Reading) -> None:
        """Its job is absent. As long as no job of ours has shown that this history shows jobs at all, only
        one item at a time is created again upon that: its new job is what the history then has to show."""
        run = self._run
        if not reading.witnessed and attempt.item in run.shards.gone:
            # It is not created again, so that another one has to show what this history shows.
            if not self._witness_may_come():
                run.leave_open(attempt.item)
            return
        if not reading.witnessed and not self._may_probe(attempt.item):
            if not run.creates:
                run.leave_open(attempt.item)
            return
        if not reading.witnessed:
            run.admission.probe = attempt.item
        await self._absent(attempt)

    def _witness_may_come(self) -> bool:
        """Whether a job of ours is known, or may yet be created."""
        run = self._run
        others = run.queues.open.keys() - run.shards.gone
        to_come = others or run.queues.to_create or run.pending_waves or run.admission.sending
        return run.jobs.any_known or bool(run.creates and to_come)

    def _may_probe(self, item: int) -> bool:
        run = self._run
        if not run.creates:
            return False
        probed = run.admission.probe
        if probed is None or probed == item:
            return True
        elsewhere = run.shards.item(probed).request.provider != run.provider
        return elsewhere or run.state(probed).phase in (Phase.FAILED, Phase.UNKNOWN)

    async def _absent(self, attempt: OpenAttempt) -> None:
        run = self._run
        if run.admission.attempts_exhausted(attempt.item):
            message = "the provider failed each of its creates and accepted none, while it took others"
            logger.warning("item %s is given up: %s", attempt.item, message)
            await run.record(
                Refused(
                    item=attempt.item,
                    at=utc_now(),
                    attempt=attempt.attempt,
                    final=True,
                    reason="not_accepted",
                    message=message,
                )
            )
            run.queues.open.pop(attempt.item, None)
            run.wake_up.notify()
            return
        absent = Absent(item=attempt.item, at=utc_now(), attempt=attempt.attempt)
        if attempt.item in run.shards.gone:
            await run.record(absent, Withdrawn(item=attempt.item, at=utc_now()))
            run.leave_open(attempt.item)
            return
        await run.record(absent)
        run.requeue(attempt.item)

    async def _adopt(self, attempt: OpenAttempt, job: Generation) -> None:
        run = self._run
        logger.info("item %s: its job %s was found in the history", attempt.item, job.id)
        await run.record(
            Adopted(item=attempt.item, at=utc_now(), attempt=attempt.attempt, id=job.id, credits=job.credits)
        )
        run.queues.open.pop(attempt.item, None)
        run.queues.running[job.id] = run.running_job(run.shards.item(attempt.item), watched=False)
        run.wake_up.notify()

    async def _history_unusable(self, attempts: Sequence[OpenAttempt], error: ProviderError) -> None:
        run = self._run
        if run.history_usable:
            logger.warning("%s: the history cannot be used: %s", run.provider, error)
        run.history_usable = False
        for attempt in attempts:
            if attempt.looks >= 2 or run.client.lists_refused:
                await self._unknown(attempt, f"the history cannot be used: {error}")
                self._stop_if_unreadable(attempt)
            else:
                run.queues.open[attempt.item] = attempt.looked(covered=False, late=False)

    def _stop_if_unreadable(self, attempt: OpenAttempt) -> None:
        """Create nothing more where neither the answers nor the history show what is created."""
        run = self._run
        if attempt.item in run.admission.unread:
            run.halt(
                StopReason.UNREADABLE,
                f"{run.provider} answers creates without a job, and this key may not read its history: give "
                "it the right to read what it creates",
            )

    async def _unknown(self, attempt: OpenAttempt, message: str) -> None:
        run = self._run
        logger.error("item %s may have been paid for: %s", attempt.item, message)
        await run.record(Unknown(item=attempt.item, at=utc_now(), attempt=attempt.attempt, message=message))
        run.wake_up.wake()


def _marked(finding: Finding) -> bool:
    """Whether our own mark says whose job it is."""
    return finding.job is not None and finding.job.correlator is not None


def _why(verdict: Verdict, *, contested: bool) -> str:
    if contested:
        return (
            "the job that the history shows may be that of another batch or shard, or of other settings, and "
            "nobody has said what became of their create: `reconcile` looks again"
        )
    if verdict is Verdict.DOUBTFUL:
        return "the history shows a job that may be this one, told otherwise than it was asked for"
    if verdict is Verdict.AMBIGUOUS:
        return "the history shows more jobs of this prompt than there are creates of it without an answer"
    return "the history does not reach back to the create, or lacks jobs that it must show"
