"""The create stage: permits, then the budget, then durable intents, then the POST."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from prefect_imagine.backoff import backoff
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.process_identity import boot_id
from prefect_imagine.batches.records import Created, Intent, NotSent, Refused
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import Deadline, boot_seconds, utc_now
from prefect_imagine.engine.provider_run import Lane, Trouble
from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    BudgetExceededError,
    ConnectionFailedError,
    InsufficientCreditsError,
    ModerationError,
    ProviderError,
    RateLimitedError,
)
from prefect_imagine.failpoints import reach
from prefect_imagine.providers.limits.pacing import Permit, Urgency

logger = logging.getLogger(__name__)

PROBE_AFTER = 20
"""Accepted creates after which one more pending job is tried than the provider was found to take."""
LONGEST_BETWEEN_PROBES = 80
RENEWALS = 4
"""Refusals of the key for one item, each with another token, after which no token is what is missing."""


class Creator:
    """Creates a lane's items, each at most once however often it is told to."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._one_by_one = asyncio.Lock()
        self._refusals = 0
        self._failures = 0
        self._trouble = Trouble(lane.timing.patience)
        self._renewals: Counter[int] = Counter()
        self._answered: set[str] = set()
        self._entered: set[int] = set()
        self._between_probes = PROBE_AFTER
        self._refused_at = 0

    async def wave(self, items: Sequence[int]) -> None:
        """Create these items; returns when each is created, refused, open, or the run has stopped."""
        await asyncio.gather(*(self._create(self._lane.plan.item(index)) for index in items))

    async def _create(self, item: BatchItem) -> None:
        lane = self._lane
        while lane.stop is None and lane.state(item.index).phase is Phase.PLANNED:
            await lane.until(lambda: lane.stop is not None or self._enters(item))
            if lane.stop is not None:
                return
            try:
                await self._attempt(item)
            finally:
                self._entered.discard(item.index)
                lane.leave(item)

    def _enters(self, item: BatchItem) -> bool:
        """Take a place among the creates, if the provider takes one job more than those that have one."""
        unproven = self._lane.client.lists_refused and not self._lane.readable
        one_by_one = (self._refusals and self._entered) or (unproven and (self._entered or self._lane.flying))
        if one_by_one or self._lane.waiting or self._lane.full(self._entered) or not self._lane.enter(item):
            return False
        self._entered.add(item.index)
        return True

    async def _attempt(self, item: BatchItem) -> None:
        lane = self._lane
        permit = await lane.client.pacer.acquire(Urgency.CREATE, demand=len(lane.todo))
        # After a refusal one create finds out how things are, and not all that have been waiting.
        one_by_one = self._refusals and lane.in_air
        if lane.stop is not None or one_by_one or lane.waiting or lane.full() or not self._affordable(item):
            lane.client.pacer.unused(permit)
            return
        # On its own: a wave that is cancelled leaves no create half recorded.
        await asyncio.shield(lane.send(self._send(item, permit)))

    def _affordable(self, item: BatchItem) -> bool:
        lane = self._lane
        estimate = item.estimate.credits
        if estimate is None:  # then nothing limits this provider's spending: the plan was checked for it
            return True
        try:
            lane.budget.reserve(lane.provider, item.index, estimate)
        except BudgetExceededError as error:
            lane.halt(StopReason.BUDGET, str(error))
            return False
        return True

    async def _send(self, item: BatchItem, permit: Permit) -> None:
        lane = self._lane
        if lane.held or item.index in lane.in_air or lane.state(item.index).phase is not Phase.PLANNED:
            lane.client.pacer.unused(permit)  # whoever was told of it first has created it
            return
        lane.take_off(item)
        try:
            if lane.history_usable:
                await self._send_one(item, permit)
            else:
                # Nothing would bring a lost answer back: let there be one that could be lost.
                async with self._one_by_one:
                    await self._send_one(item, permit)
        finally:
            lane.touch_down(item)

    async def _send_one(self, item: BatchItem, permit: Permit) -> None:
        lane = self._lane
        reach("before_intent")
        deadline = Deadline(lane.timing.deadline)
        intent = Intent(
            item=item.index,
            at=utc_now(),
            attempt=lane.state(item.index).attempt + 1,
            provider_at=lane.client.clock.now(),
            boot=boot_id(),
            boot_at=boot_seconds(),
        )
        rank = len(lane.order)
        try:
            await lane.record(intent)
        except BaseException:
            lane.client.pacer.unused(permit)
            raise
        reach("after_intent")
        try:
            generation = await lane.client.create(
                item.request,
                correlator=lane.correlator(item, intent.attempt),
                permit=permit,
                deadline=deadline,
            )
        except AmbiguousCreateError as error:
            logger.warning("item %s: %s", item.title, error)
            if error.answered:
                lane.unread.add(item.index)
            lane.lose(item, intent, rank)
            self._count_failure(error)
        except ProviderError as error:
            await self._not_created(item, intent, error)
        else:
            if generation.id in self._answered or generation.id in lane.order:
                logger.warning("item %s: the provider answered with the job of another item", item.title)
                lane.lose(item, intent, rank)
                return
            self._answered.add(generation.id)
            reach("after_post")
            self._accepted()
            reach("before_created")
            await lane.record(
                Created(
                    item=item.index,
                    at=utc_now(),
                    attempt=intent.attempt,
                    id=generation.id,
                    credits=generation.credits,
                )
            )
            reach("after_created")
            lane.flying[generation.id] = lane.flight(item)
            if lane.client.lists_refused and not lane.readable:
                lane.cadence.look_at_once = True  # whether it can be read decides if another is created
                lane.hurry()

    async def _not_created(self, item: BatchItem, intent: Intent, error: ProviderError) -> None:
        lane = self._lane
        if isinstance(error, ConnectionFailedError):
            entry: NotSent | Refused = NotSent(
                item=item.index, at=utc_now(), attempt=intent.attempt, message=str(error)
            )
        else:
            entry = Refused(
                item=item.index,
                at=utc_now(),
                attempt=intent.attempt,
                final=_is_final(error),
                reason=reason_of(error),
                message=str(error),
            )
        await lane.record(entry)
        await self._draw_conclusions(item, error)

    async def _draw_conclusions(self, item: BatchItem, error: ProviderError) -> None:
        lane = self._lane
        if isinstance(error, InsufficientCreditsError):
            lane.halt(StopReason.CREDITS, str(error))
        elif isinstance(error, RateLimitedError):
            self._on_rate_limit(error)
        elif isinstance(error, AuthenticationError) and not self._key_may_pass(item, error):
            lane.halt(StopReason.KEY, str(error))
        elif _is_final(error):
            logger.warning("item %s was refused: %s", item.title, error)
        else:
            self._count_failure(error)
            await asyncio.sleep(backoff(min(self._failures, 5)))

    def _key_may_pass(self, item: BatchItem, error: AuthenticationError) -> bool:
        """Whether a new token may be what is missing: it is not where creates are refused with each."""
        self._renewals[item.index] += 1
        return error.retryable and self._renewals[item.index] < RENEWALS

    def _count_failure(self, error: ProviderError) -> None:
        """One more create in vain. What reads do says nothing of when to give up: only creates tell."""
        self._failures += 1
        if self._trouble.over():
            self._lane.halt(StopReason.FAILING, f"no create has been accepted for too long: {error}")

    def _accepted(self) -> None:
        lane = self._lane
        self._refusals = self._failures = 0
        self._trouble.clear()
        self._renewals.clear()
        lane.trouble.clear()
        lane.accepted += 1
        if lane.cap is None:
            return
        if len(lane.flying) + 1 >= int(lane.cap) > self._refused_at:
            self._refused_at = int(lane.cap)
            self._between_probes = max(1, self._between_probes // 2)  # the probe has passed
        lane.cap += 1 / self._between_probes

    def _on_rate_limit(self, error: RateLimitedError) -> None:
        """A 429 on creates only, while reads pass, means that too many jobs are pending."""
        lane = self._lane
        self._refusals += 1
        pending = len(lane.flying)
        unexplained = error.retry_after is None and not lane.client.pacer.led_by_headers
        may_be_full = not lane.client.pacer.led_by_headers
        probed = may_be_full and lane.cap is not None and pending >= int(lane.cap) - 1
        if pending and (error.queue_full or probed or (self._refusals > 1 and lane.reads_pass)):
            if lane.cap is not None:
                self._between_probes = min(LONGEST_BETWEEN_PROBES, 2 * self._between_probes)
            lane.cap = float(pending)
            self._refused_at = pending
            if unexplained:
                lane.client.pacer.forgive()
        elif pending and may_be_full:
            lane.cadence.look_at_once = True  # whether a read passes tells which limit it was
        lane.reads_pass = False
        lane.hurry()
        if lane.trouble.over():
            lane.halt(StopReason.GONE, str(error))


def _is_final(error: ProviderError) -> bool:
    """Whether the provider would refuse the same request again."""
    passing = (RateLimitedError, InsufficientCreditsError, AuthenticationError)
    return not error.retryable and not isinstance(error, passing)


def reason_of(error: ProviderError) -> str:
    """A stable word for a provider's error."""
    if isinstance(error, ModerationError):
        return "moderation"
    words = {
        InsufficientCreditsError: "insufficient_credits",
        AuthenticationError: "key_refused",
        RateLimitedError: "rate_limited",
    }
    return words.get(type(error), "refused")
