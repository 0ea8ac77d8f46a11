"""One provider's part of a running batch: what is to be created, under way, open and to be stored."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import datetime

from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.process_identity import boot_id
from prefect_imagine.batches.records import Adopted, AnyItemRecord, Created, Intent, Unknown
from prefect_imagine.batches.state import ItemState, Phase, may_have_unknown_job
from prefect_imagine.batches.stops import ASKED, Stop, StopReason
from prefect_imagine.billing.budget import Budget
from prefect_imagine.billing.usage import committed
from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.attempts import OpenAttempt
from prefect_imagine.engine.cadence import Cadence, RunningJob
from prefect_imagine.engine.identity import RequestIdentity, request_identity
from prefect_imagine.engine.other_batches import OtherBatches
from prefect_imagine.providers.protocol import ProviderClient

logger = logging.getLogger(__name__)


MAX_LOST_CREATES = 4
"""Creates of one item, each lost and proven absent, after which it is given up where others are accepted."""


class FailureTimer:
    """How long a provider has been failing without a break."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None

    def expired(self) -> bool:
        """Note a failure; whether patience is at its end."""
        self._since = self._since or boot_seconds()
        return boot_seconds() - self._since > self._patience

    def clear(self) -> None:
        """It works again."""
        self._since = None


class ProviderRun:
    """One provider's part of a running batch. Its stages share it; nothing else is shared between runs
    but the journal and the budget.

    Attributes:
        held: whether nothing is created for now, because somebody has paused the run.
        todo: items to create, in order.
        sending: items whose create is being sent right now.
        open: attempts whose outcome is not known.
        running: jobs under way, by the provider's id.
        overdue: jobs that the run does not wait for any more, and takes in all the same if they end while it
            follows others.
        to_store: items to store, in the order of their completion.
        max_pending: how many jobs may be pending at once, where the provider was found to limit that.
        order: when in the journal's order each id became known.
        readable: whether a job of this key has been read.
        accepted: how many creates this run has seen accepted.
        unread: items whose create was answered as a success, but with no job that could be read.
        last_sent: boot clock of the last moment when a create of a class was begun or ended.
        probe: the item that was released although the history had not shown any job of ours yet.
    """

    def __init__(
        self,
        provider: str,
        client: ProviderClient,
        plan: Plan,
        journal: Journal,
        budget: Budget,
        options: BatchOptions,
        other_batches: Callable[[Callable[[BatchItem], RequestIdentity]], OtherBatches],
        *,
        create: bool = True,
    ) -> None:
        self.provider = provider
        self.client = client
        self.plan = plan
        self.items = plan.of(provider)
        self.journal = journal
        self.budget = budget
        self.options = options
        self.timing = options.timing
        self.other_batches = other_batches(self.identity)
        self.cadence = Cadence()
        self.trouble = FailureTimer(options.timing.patience)
        self.stop: Stop | None = None
        self.held = False
        self.todo: deque[int] = deque()
        self.sending: set[int] = set()
        self.open: dict[int, OpenAttempt] = {}
        self.running: dict[str, RunningJob] = {}
        self.overdue: dict[str, RunningJob] = {}
        self.to_store: deque[int] = deque()
        self.watching = True
        self.reads_pass = False
        self.pending_waves = 0
        self.max_pending: float | None = None
        self.order: dict[str, int] = {}
        self._known_since: dict[str, float] = {}
        self.history_usable = True
        self.readable = False
        self.accepted = 0
        self._losses: dict[int, list[int]] = {}  # by item: how many were accepted before each
        self.unread: set[int] = set()
        self.last_sent: dict[RequestIdentity, float] = {}
        self.probe: int | None = None
        self.sends: set[asyncio.Task[None]] = set()
        self._classes: Counter[tuple[RequestIdentity, str]] = Counter()
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._creates = create
        self._load()

    def _load(self) -> None:
        for item in self.items:
            state = self.state(item.index)
            for charge in state.charges:
                self.order[charge.id] = 0
            looked_for = (Phase.OPEN,) if self._creates else (Phase.OPEN, Phase.UNKNOWN)
            if state.phase is Phase.PLANNED and self._creates:
                self.todo.append(item.index)
            elif state.phase in looked_for and state.intent is not None:
                self.open[item.index] = self.reopened(item, state.intent)
            elif state.phase is Phase.CREATED and state.id is not None:
                self.running[state.id] = self.running_job(item)
            elif state.phase is Phase.FINISHED:
                self.to_store.append(item.index)

    def state(self, index: int) -> ItemState:
        """Where an item durably stands."""
        return self.journal.state[index]

    def owned(self) -> dict[str, BatchItem]:
        """The provider's ids of all jobs of this run's items."""
        return {charge.id: item for item in self.items for charge in self.state(item.index).charges}

    def unsettled(self) -> set[RequestIdentity]:
        """What is asked for by creates that are being sent, open, or unknown."""
        sent = (self.identity(self.plan.item(index)) for index in self.sending)
        return {*sent, *self.unknown_requests(), *(attempt.identity for attempt in self.open.values())}

    def unknown_requests(self) -> dict[RequestIdentity, set[str]]:
        """The fingerprints of requests that may have a job that is not known, by class."""
        found: dict[RequestIdentity, set[str]] = {}
        for item in self.items:
            if may_have_unknown_job(self.state(item.index)) and item.index not in self.open:
                found.setdefault(self.identity(item), set()).add(item.request.fingerprint)
        return found

    def visible(self) -> dict[str, tuple[BatchItem, datetime]]:
        """The jobs of this run's items that have been known for so long that the history must show them,
        with the provider's time at which each was asked for."""
        known = boot_seconds() - self.timing.settle
        return {
            state.id: (item, state.asked_at)
            for item in self.items
            for state in [self.state(item.index)]
            if state.id and state.asked_at and self._known_since.get(state.id, 0.0) < known
        }

    def asked_at(self) -> dict[str, datetime]:
        """The provider's time at which each known job was asked for."""
        states = (self.state(item.index) for item in self.items)
        # What a damaged journal may have lost was not asked for at the time that stands there.
        told = (state for state in states if state.asked_at != self.plan.planned_at)
        return {state.id: state.asked_at for state in told if state.id and state.asked_at}

    def identity(self, item: BatchItem) -> RequestIdentity:
        """What the provider's history will show of an item."""
        return request_identity(item.request, self.client.wire_prompt(item.request))

    def correlator(self, item: BatchItem, attempt: int) -> str:
        """Our mark on one attempt, for providers that echo one."""
        return f"{item.item_id}:{attempt}"

    def running_job(self, item: BatchItem) -> RunningJob:
        """A job of an item, under way from now."""
        return RunningJob(item.index, boot_seconds(), item.request.kind, item.request.model)

    def reopened(self, item: BatchItem, intent: Intent) -> OpenAttempt:
        """The open attempt that an intent became. A process that cannot tell the intent's age waits as
        long as if it had been written just now."""
        same_boot = bool(intent.boot) and intent.boot == boot_id()
        return OpenAttempt(
            item=item.index,
            attempt=intent.attempt,
            identity=self.identity(item),
            correlator=self.correlator(item, intent.attempt),
            provider_at=intent.provider_at,
            since=min(intent.boot_at, boot_seconds()) if same_boot else boot_seconds(),
            looking_since=boot_seconds(),
            # Of what a damaged journal may have lost only the plan's time is known, by the planner's clock.
            clocked=intent.provider_at != self.plan.planned_at,
        )

    async def record(self, *entries: AnyItemRecord) -> None:
        """Make records durable and take their cost in."""
        await self.journal.append(*entries)
        for entry in entries:
            if isinstance(entry, Created | Adopted):
                self.order[entry.id] = len(self.order)
                self._known_since[entry.id] = boot_seconds()
            if isinstance(entry, Unknown):
                self.open.pop(entry.item, None)
            spent = committed(self.plan.item(entry.item), self.state(entry.item))
            self.budget.settle(self.provider, entry.item, spent)
        self.notify()

    def halt(self, reason: StopReason, message: str) -> None:
        """Create nothing more in this run. That somebody asked for it outweighs all other reasons, and that
        the provider is gone those that leave something to follow."""
        asked = reason in ASKED and not self.stopped
        outweighs = asked or (reason is StopReason.UNREACHABLE and not self.stopped)
        if self.stop is None or outweighs:
            logger.warning("%s: no more creates: %s", self.provider, message)
            self.stop = Stop(reason, message)
        self.wake()

    def hold(self, held: bool) -> None:
        """Create nothing for now, or go on."""
        self.held = held
        self.notify()

    @property
    def gone(self) -> bool:
        """Whether following what is under way is pointless too."""
        return self.stop is not None and (self.stop.reason is StopReason.UNREACHABLE or self.stopped)

    @property
    def stopped(self) -> bool:
        """Whether somebody asked the run to end."""
        return self.stop is not None and self.stop.reason in ASKED

    @property
    def creates(self) -> bool:
        """Whether this run may still create something."""
        return self._creates and self.stop is None

    @property
    def creating(self) -> bool:
        """Whether creates are to come or under way."""
        return bool(self.sending) or (
            self.stop is None and bool(self.todo or self.open or self.pending_waves)
        )

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to follow."""
        if self.gone:
            return not self.sending
        return not (self.creating or self.running or self.open)

    def full(self, coming: Collection[int] = ()) -> bool:
        """Whether the provider will take no more jobs for now, if it gets those that are coming."""
        return self.max_pending is not None and len(self.running) + len(self.sending.union(coming)) >= int(
            self.max_pending
        )

    def acquire(self, item: BatchItem) -> bool:
        """Take a place among the creates of one identity, if there may be one now.

        While an attempt of the class is open, or one with other settings is under way, there may not:
        the history could not tell their jobs apart. But the probe may pass those that were asked for just as
        it is: they wait for it.
        """
        identity = self.identity(item)
        fingerprint = item.request.fingerprint
        waiting = {
            self.plan.item(attempt.item).request.fingerprint
            for attempt in self.open.values()
            if attempt.identity == identity
        }
        if waiting and not (item.index == self.probe and waiting == {fingerprint}):
            return False
        if any(one == identity and other != fingerprint for one, other in self._classes):
            return False
        self._classes[identity, fingerprint] += 1
        return True

    def release(self, item: BatchItem) -> None:
        """Give the place back."""
        key = (self.identity(item), item.request.fingerprint)
        self._classes[key] -= 1
        if not self._classes[key]:
            del self._classes[key]
        self.notify()

    def begin_send(self, item: BatchItem) -> None:
        """A create of this item is being sent from now on."""
        self.sending.add(item.index)
        self.last_sent[self.identity(item)] = boot_seconds()

    def end_send(self, item: BatchItem) -> None:
        """It is no longer."""
        self.sending.discard(item.index)
        self.last_sent[self.identity(item)] = boot_seconds()
        self.notify_created()

    def mark_ambiguous(self, item: BatchItem, intent: Intent, rank: int) -> None:
        """A create was sent and its outcome is not known. `rank`: how many ids were known before it."""
        self.open[item.index] = self.reopened(item, intent).ranked(rank)
        self._losses.setdefault(item.index, []).append(self.accepted)
        self.wake()

    def attempts_exhausted(self, index: int) -> bool:
        """Whether an item's creates are lost again and again while the provider takes others."""
        losses = self._losses.get(index, [])
        return len(losses) >= MAX_LOST_CREATES and self.accepted > losses[0]

    @property
    def waiting(self) -> bool:
        """Whether another create has to wait: the run is paused, or one was answered with no job, and it is
        not known yet whether what this key creates can be read at all."""
        return self.held or not self.unread.isdisjoint(self.open)

    def quiet_since(self, identity: RequestIdentity, moment: float) -> bool:
        """Whether no create of this class has been under way at any time from then on."""
        airborne = any(self.identity(self.plan.item(index)) == identity for index in self.sending)
        return not airborne and self.last_sent.get(identity, 0.0) < moment

    def requeue(self, index: int) -> None:
        """An item turned out not to have been created: create it, if this run creates."""
        self.open.pop(index, None)
        if self._creates:
            self.todo.append(index)
        self.notify()

    def leave_open(self, index: int) -> None:
        """This run cannot find out what became of an item's create: a later one may."""
        self.open.pop(index, None)
        self.notify()

    def notify(self) -> None:
        """Something changed: let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def notify_created(self) -> None:
        """A create has ended: after the last one there is nothing left to do but to look."""
        if self.creating:
            self.notify()
        else:
            self.wake()

    def wake(self) -> None:
        """Something changed that should not wait for the next look."""
        self._wake.set()
        self.notify()

    async def wait_for(self, ready: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until something holds, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not ready():
                    await self._changed.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait, unless something urgent comes."""
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def send(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Start what must go on to its end although its wave is cancelled."""
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self.sends.add(task)
        task.add_done_callback(self._sent)
        return task

    def _sent(self, task: asyncio.Task[None]) -> None:
        self.sends.discard(task)
        if not task.cancelled():
            task.exception()  # its wave has it, unless the wave was cancelled: then the run's end has
