"""The create stage: permits, then the budget, then durable intents, then the POST."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.process_identity import boot_id
from prefect_imagine.batches.records import Created, Intent
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import Deadline, boot_seconds, utc_now
from prefect_imagine.engine.failure_timer import FailureTimer
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.stages.endings import Endings
from prefect_imagine.engine.stages.purse import Purse
from prefect_imagine.engine.stages.refusals import is_final, refusal
from prefect_imagine.engine.traces import tell_answer
from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    InsufficientCreditsError,
    ProviderError,
    RateLimitedError,
)
from prefect_imagine.failpoints import reach
from prefect_imagine.providers.limits.pacing import Permit, Priority
from prefect_imagine.providers.models import Generation
from prefect_imagine.providers.transport.connections import MAX_CONNECTIONS

logger = logging.getLogger(__name__)

MAX_RENEWALS = 4
"""Refusals of the key for one item, each with another token, after which no token is what is missing."""
CREATES_AT_ONCE = MAX_CONNECTIONS - 8
"""The most creates that are under way or wait for a permit: no read waits behind them for a connection."""
FAILURES_IN_A_ROW = 5
"""Creates in vain after which one at a time finds out how things are, each after a pause."""
MAX_INLINE = 32
"""Items whose outputs are held in memory until the store has taken them."""


class CreateStage:
    """Creates a run's items, each at most once however often it is told to."""

    def __init__(self, run: ProviderRun) -> None:
        self._run = run
        self._one_by_one = asyncio.Lock()
        self._endings = Endings(run.client)
        self._purse = Purse(run)
        self._failures = 0
        self._pausing = 0
        self._trouble = FailureTimer(run.timing.patience)
        self._renewals: Counter[int] = Counter()
        self._answered: set[str] = set()
        self._placed: Counter[int] = Counter()
        self._line = run.wake_up.line(self._closed)

    async def wave(self, items: Sequence[int]) -> None:
        """Create these items; returns when each is created, refused, open, or the run has stopped."""
        await asyncio.gather(*(self._create(self._run.shards.item(index)) for index in items))

    async def _create(self, item: BatchItem) -> None:
        run = self._run
        while run.stop is None and self._is_planned(item):
            places: list[BatchItem] = []
            try:
                await self._line.wait(partial(self._enter, item, places))
                if run.stop is None:
                    await self._attempt(item)
            finally:
                for each in places:
                    self._placed -= Counter([each.index])
                    run.admission.release(each)

    def _is_planned(self, item: BatchItem) -> bool:
        """Whether an item is to be created, and in this very way."""
        state = self._run.state(item.index)
        wanted = state.phase is Phase.PLANNED and state.alternative == item.chosen
        return wanted and not self._run.books.budgets.denies(item)

    def _closed(self) -> bool:
        """Whether there is a place among the creates for no item: the provider takes no job more than those
        that have one. A run that stops lets everybody pass."""
        run, admission = self._run, self._run.admission
        unproven = run.client.lists_refused and not admission.readable
        probes = self._probes or self._purse.short or unproven
        one_by_one = probes and (self._placed or (unproven and run.queues.running))
        crowded = len(run.queues.inline) >= MAX_INLINE or self._placed.total() >= CREATES_AT_ONCE
        full = crowded or one_by_one or self._purse.waits or admission.waiting or admission.full(self._placed)
        return run.stop is None and bool(full)

    def _enter(self, item: BatchItem, places: list[BatchItem]) -> bool:
        """Take a place and note it, unless the history could not tell the item's job from another's; or pass,
        where the run has stopped."""
        if self._run.stop is None:
            if not self._run.admission.acquire(item):
                return False
            self._placed[item.index] += 1
            places.append(item)
        return True

    async def _attempt(self, item: BatchItem) -> None:
        permit = await self._permit()
        if permit is None:
            return
        sending = None
        try:
            covered = await self._purse.set_aside(item)
            if covered and self._may_send:
                # On its own: a wave that is cancelled leaves no create half recorded.
                sending = self._run.send(self._send(item, permit))
        finally:
            if sending is None:
                self._run.client.pacer.release(permit)
                self._purse.give_back(item)
        if sending is not None:
            await asyncio.shield(sending)
        elif not covered:
            await self._purse.wait(item)

    async def _permit(self) -> Permit | None:
        """A permit to send a create, unless none is to be sent by now."""
        run = self._run
        permit = await run.client.pacer.acquire(Priority.CREATE, demand=len(run.queues.to_create))
        if self._may_send:
            return permit
        run.client.pacer.release(permit)
        return None

    @property
    def _may_send(self) -> bool:
        """Whether a create may be sent now."""
        run = self._run
        one_by_one = self._probes and (run.admission.sending or self._pausing)
        return run.stop is None and not (one_by_one or run.admission.waiting or run.admission.full())

    @property
    def _probes(self) -> bool:
        """Whether one create finds out how things are, and not all that have been waiting: after a refusal,
        or where one after the other fails."""
        return self._run.refusals.count > 0 or self._failures >= FAILURES_IN_A_ROW

    async def _send(self, item: BatchItem, permit: Permit) -> None:
        run = self._run
        at = run.books.budgets.moment(item)
        done = item.index in run.admission.sending or not self._is_planned(item)
        if run.admission.held or done or at is None:
            run.client.pacer.release(permit)  # whoever was told of it first has created it
            self._purse.give_back(item)
            return
        run.admission.begin_send(item)
        pause = 0.0
        try:
            if run.history_usable:
                pause = await self._send_one(item, permit, at)
            else:
                # Nothing would bring a lost answer back: let there be one that could be lost.
                async with self._one_by_one:
                    await asyncio.sleep(await self._send_one(item, permit, at))
        finally:
            self._pausing += pause > 0
            run.admission.end_send(item)
            self._purse.give_back(item)
            run.end_create()
        if pause > 0:
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Hold the next create back, and nothing else: what was sent is looked for meanwhile."""
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pausing -= 1
            self._run.wake_up.notify()

    async def _send_one(self, item: BatchItem, permit: Permit, at: datetime) -> float:
        """Send a create, and draw conclusions; gives the seconds until another one is worth a try."""
        run = self._run
        with run.trace.create(item, run.state(item.index).attempt + 1) as span:
            answer = await self._asked(item, permit, at)
            tell_answer(span, answer, run.state(item.index))
        if isinstance(answer, Generation):
            await self._begun(item, answer)
        elif answer is not None:
            return self._draw_conclusions(item, answer)
        return 0.0

    async def _asked(
        self, item: BatchItem, permit: Permit, at: datetime
    ) -> Generation | ProviderError | None:
        """Write the intent down, send the create, and write its answer down.

        Returns the job, or the error that came of it; `None` where the answer was another item's job.
        """
        run = self._run
        reach("before_intent")
        deadline = Deadline(run.timing.deadline)
        intent = Intent(
            item=item.index,
            at=at,
            attempt=run.state(item.index).attempt + 1,
            provider_at=run.client.clock.now(),
            boot=boot_id(),
            boot_at=boot_seconds(),
            alternative=item.chosen or None,
        )
        rank = run.jobs.rank
        try:
            await run.record(intent)
        except BaseException:
            run.client.pacer.release(permit)
            raise
        reach("after_intent")
        try:
            generation = await run.client.create(
                item.request,
                correlator=run.correlator(item, intent.attempt),
                permit=permit,
                deadline=deadline,
            )
        except AmbiguousCreateError as error:
            logger.warning("item %s: %s", item.title, error)
            if error.answered:
                run.admission.unread.add(item.index)
            run.mark_ambiguous(item, intent, rank)
            return error
        except ProviderError as error:
            await run.record(refusal(item.index, intent.attempt, error))
            return error
        if generation.id in self._answered or generation.id in run.jobs.order:
            logger.warning("item %s: the provider answered with the job of another item", item.title)
            run.mark_ambiguous(item, intent, rank)
            return None
        self._answered.add(generation.id)
        reach("after_post")
        self._accepted()
        reach("before_created")
        await run.record(
            Created(
                item=item.index,
                at=utc_now(),
                attempt=intent.attempt,
                id=generation.id,
                credits=generation.credits,
            )
        )
        self._answered.discard(generation.id)  # the index of jobs has it from here on
        reach("after_created")
        return generation

    async def _begun(self, item: BatchItem, generation: Generation) -> None:
        """Follow a job from its create on."""
        run = self._run
        if generation.status.terminal:
            await self._ended(item, generation)
            return
        run.queues.running[generation.id] = run.running_job(item)
        if run.client.lists_refused and not run.admission.readable:
            run.cadence.look_at_once = True  # whether it can be read decides if another is created
        if run.cadence.look_at_once:
            run.wake_up.wake()

    async def _ended(self, item: BatchItem, generation: Generation) -> None:
        """A job that had ended when its create was answered: there is nothing to follow."""
        run = self._run
        await run.record(await self._endings.record(item.index, generation, generation.credits))
        if run.state(item.index).phase is Phase.FINISHED:
            if any(output.inline for output in generation.outputs):
                run.queues.inline[item.index] = generation.outputs
            run.queues.to_store.append(item.index)
        run.wake_up.notify()

    def _draw_conclusions(self, item: BatchItem, error: ProviderError) -> float:
        run = self._run
        if isinstance(error, AmbiguousCreateError):
            run.refusals.in_doubt(error, self._pending)
            self._count_failure(error)
            return self._pause_after_failure if self._failures >= FAILURES_IN_A_ROW else 0.0
        if isinstance(error, InsufficientCreditsError):
            run.halt(StopReason.CREDITS, str(error))
        elif isinstance(error, RateLimitedError):
            return self._on_rate_limit(error)
        elif isinstance(error, AuthenticationError):
            return self._on_refused_key(item, error)
        elif is_final(error):
            logger.warning("item %s was refused: %s", item.title, error)
        else:
            return self._after_failure(error)
        return 0.0

    def _on_refused_key(self, item: BatchItem, error: AuthenticationError) -> float:
        """A new token may be what is missing; it is not where creates are refused with each."""
        self._renewals[item.index] += 1
        if error.retryable and self._renewals[item.index] < MAX_RENEWALS:
            return self._after_failure(error)
        self._run.halt(StopReason.AUTHENTICATION, str(error))
        return 0.0

    def _after_failure(self, error: ProviderError) -> float:
        self._count_failure(error)
        return self._pause_after_failure

    @property
    def _pause_after_failure(self) -> float:
        return self._run.pauses.after_failure(min(self._failures, 5))

    def _count_failure(self, error: ProviderError) -> None:
        """One more create in vain. What reads do says nothing of when to give up: only creates tell."""
        self._failures += 1
        self._trouble.failed()
        if self._trouble.expired:
            self._run.halt(StopReason.FAILING, f"no create has been accepted for too long: {error}")

    def _accepted(self) -> None:
        run = self._run
        self._failures = 0
        self._trouble.clear()
        self._renewals.clear()
        run.trouble.clear()
        run.admission.accepted += 1
        run.refusals.accepted(self._pending - 1)

    @property
    def _pending(self) -> int:
        """How many jobs are under way, those included that are being written down."""
        return len(self._run.queues.running) + len(self._answered)

    def _on_rate_limit(self, error: RateLimitedError) -> float:
        """Too many requests, or too many jobs: those of others too, which nobody here sees end."""
        run = self._run
        # Creates that are answered when their job has ended are jobs under way, too.
        sending = len(run.admission.sending) - len(self._answered) - 1
        pending = self._pending + (sending if error.queue_full else 0)
        if run.refusals.refused(error, pending):
            run.cadence.look_at_once = True
        run.wake_up.wake()
        run.trouble.failed()
        if run.trouble.expired:
            run.halt(StopReason.UNREACHABLE, str(error))
        elif error.queue_full and not pending:
            return run.pauses.after_failure(min(run.refusals.count, 5))
        return 0.0
