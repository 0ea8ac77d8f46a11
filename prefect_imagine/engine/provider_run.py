"""One provider's part of a running batch: what its stages share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from prefect_imagine.backoff import PAUSES, Pauses
from prefect_imagine.batches.accounts.learned import Latency, LearnedLimits
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.process_identity import boot_id
from prefect_imagine.batches.records import Adopted, AnyItemRecord, Created, Instead, Intent, Unknown
from prefect_imagine.batches.shard import ways
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.batches.stops import ASKED, Stop, StopReason, WaitsFor
from prefect_imagine.billing.costs import model_name
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.admission import Admission
from prefect_imagine.engine.arrivals import Arrivals
from prefect_imagine.engine.books import RunBooks
from prefect_imagine.engine.cadence import Cadence, RunningJob
from prefect_imagine.engine.failure_timer import FailureTimer
from prefect_imagine.engine.history.attempts import OpenAttempt
from prefect_imagine.engine.history.identity import RequestIdentity, request_identity
from prefect_imagine.engine.history.other_batches import OtherBatches
from prefect_imagine.engine.job_index import JobIndex
from prefect_imagine.engine.open_shards import OpenShard, OpenShards
from prefect_imagine.engine.pending_limit import CreateRefusals
from prefect_imagine.engine.queues import Queues
from prefect_imagine.engine.traces import BatchTrace
from prefect_imagine.engine.wake_up import WakeUp
from prefect_imagine.engine.ways.handover import Handover
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.tracing import present

logger = logging.getLogger(__name__)


class ProviderRun:
    """One provider's part of a running batch. Its stages share it; nothing else is shared between runs
    but the shards and the books.

    Attributes:
        shards: those that are open; items of others come as they are opened.
        expected: how many items it is going to have work with, in all shards together.
        shards_to_come: whether further shards may still bring items.
        handover: items that other providers refuse, or this one.
        pauses: how long it pauses where nobody tells when to go on.
        trace: begins the spans of what its stages do.
        queues: what is to be done with its items.
        arrivals: what has become known of its jobs by other ways than its own looks.
        delivering: whether the provider delivers the ends of jobs, so that looks are needed rarely.
        admission: which of them may be created now.
        jobs: what is known of their jobs.
        wake_up: how the stages wait for each other.
        trouble: how long reads have been failing.
        stop: why nothing more is created.
        polling: whether the poll stage still follows jobs.
        refusals: what the provider's refusals of creates are about.
        pending_waves: waves of creates that have not ended.
        history_usable: whether the provider's history can be read, as far as is known.
        sends: creates that go on to their end although their wave is cancelled.
        reconciling: whether the history is being read, and held against what is known.
    """

    def __init__(
        self,
        provider: str,
        client: ProviderClient,
        batch_id: str,
        shards: OpenShards,
        books: RunBooks,
        options: BatchOptions,
        other_batches: Callable[[Callable[[BatchItem], RequestIdentity]], OtherBatches],
        *,
        create: bool = True,
        lingers: bool = True,
        pauses: Pauses = PAUSES,
        trace: BatchTrace | None = None,
        changed: Callable[[], None] = lambda: None,
        handover: Handover | None = None,
    ) -> None:
        self.provider = provider
        self.client = client
        self.batch_id = batch_id
        self.shards = shards
        self.expected = 0
        self.shards_to_come = False
        self.handover = handover or Handover()
        self.books = books
        self.options = options
        self.timing = options.timing
        self.other_batches = other_batches(self.identity)
        self.pauses = pauses
        self.trace = trace or BatchTrace(batch_id)
        self.cadence = Cadence(pauses.between_looks)
        self.queues = Queues()
        self.wake_up = WakeUp(changed)
        self.arrivals = Arrivals(self.wake_up.wake)
        self.delivering = False
        self.admission = Admission(shards, self.queues, self.wake_up, self.identity)
        self.jobs = JobIndex(shards, self.identity)
        self.trouble = FailureTimer(options.timing.patience)
        self.stop: Stop | None = None
        self.polling = True
        self.refusals = CreateRefusals(self.admission.max_pending, client.pacer)
        self.pending_waves = 0
        self.history_usable = True
        self.sends: set[asyncio.Task[None]] = set()
        self.reconciling = False
        self._creates = create
        self._lingers = lingers

    def load(self, item: BatchItem) -> None:
        """Take over an item of a shard that has been opened, or that was handed over."""
        state = self.state(item.index)
        self.jobs.load(item, state)
        self.handover.follow(item, state)
        looked_for = (Phase.OPEN,) if self._creates else (Phase.OPEN, Phase.UNKNOWN)
        if state.phase is Phase.PLANNED and self._creates:
            self.queues.to_create.append(item.index)
        elif state.phase in looked_for and state.intent is not None:
            self.queues.open[item.index] = self.reopened(item, state.intent)
        elif state.phase is Phase.CREATED and state.id is not None:
            self.queues.running[state.id] = self.running_job(item, state.created_at, watched=False)
        elif state.phase is Phase.FINISHED:
            self.queues.to_store.append(item.index)

    def begin_with(self, learned: LearnedLimits) -> None:
        """Begin with what earlier runs have learned of this key."""
        if learned.rate is not None:
            self.client.pacer.begin_with(learned.rate)
        if learned.max_pending:
            self.admission.max_pending.begin_at(learned.max_pending)
        for latency in learned.latencies:
            self.cadence.begin_with(latency.kind, latency.model, latency.seconds)

    @property
    def learned(self) -> LearnedLimits | None:
        """What is known of this key's limits, if anything is."""
        rate, pending = self.client.pacer.measured, self.admission.max_pending.limit
        latencies = tuple(
            Latency(kind=kind, model=model, seconds=seconds)
            for (kind, model), seconds in self.cadence.latencies.items()
        )
        if rate is None and pending is None and not latencies:
            return None
        return LearnedLimits(at=utc_now(), rate=rate, max_pending=pending, latencies=latencies)

    @property
    def expected_end(self) -> datetime | None:
        """When the last of its jobs is expected to end, where it is known how long they take."""
        seconds = self.cadence.longest_left(self.queues.running.values())
        return None if seconds is None else utc_now() + timedelta(seconds=max(0.0, seconds))

    def forget(self, shard: OpenShard) -> None:
        """A shard is not open any longer; nothing of it is under way but what is overdue."""
        own = [way for way in shard.view.ways() if way.item.request.provider == self.provider]
        for way in own:
            self.jobs.forget(way.item, way.state)
            self.handover.forget(way.item.index)
        self.queues.forget(shard.plan.indices)
        self.admission.forget(shard.plan.indices, (self.identity(way.item) for way in own))

    def busy_with(self, shard: OpenShard) -> bool:
        """Whether it has, or may yet have, something to do with items of a shard."""
        indices = shard.plan.indices
        # What the history shows is held against all jobs that are known when it was asked for.
        if shard.waves or self.reconciling or any(index in indices for index in self.admission.sending):
            return True
        planned, under_way = self.books.unfinished(shard.number, self.provider)
        waits = self._lingers and not self.gone
        if (planned and self.creates) or (under_way and waits):
            return True
        running = waits or self.arrivals.concern(self.queues.running)
        return self.queues.occupied(indices, open=not self.gone, running=running, outputs=not self.stopped)

    def state(self, index: int) -> ItemState:
        """Where an item durably stands."""
        return self.shards.state(index)

    def identity(self, item: BatchItem) -> RequestIdentity:
        """What the provider's history will show of an item."""
        return request_identity(item.request, self.client.wire_prompt(item.request))

    def correlator(self, item: BatchItem, attempt: int) -> str:
        """Our mark on one attempt, for providers that echo one."""
        return f"{item.item_id}:{attempt}"

    def running_job(
        self, item: BatchItem, created_at: datetime | None = None, *, watched: bool = True
    ) -> RunningJob:
        """A job of an item, under way since then, or from now on."""
        age = 0.0 if created_at is None else max(0.0, (utc_now() - created_at).total_seconds())
        return RunningJob(item.index, boot_seconds() - age, item.request.kind, item.request.model, watched)

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
            clocked=intent.provider_at != self.shards.of(item.index).plan.planned_at,
        )

    async def record(self, *entries: AnyItemRecord) -> None:
        """Make records durable and take their cost in. What is refused is created in another way, where its
        plan has one: that is written down with the refusal, so that no process comes between them."""
        instead = list(self.handover.instead(self.shards, entries))
        await self.shards.append(*entries, *instead)
        for entry in entries:
            if isinstance(entry, Created | Adopted):
                self.jobs.became_known(entry.id)
            if isinstance(entry, Unknown):
                self.queues.open.pop(entry.item, None)
            self._take_in(entry.item)
        for item in [self.shards.item(each.item) for each in instead if isinstance(each, Instead)]:
            logger.warning("item %s is created by %s instead", item.title, model_name(item))
            self.handover.hand_over(item)
        self.wake_up.notify()

    def _take_in(self, index: int) -> None:
        shard = self.shards.of(index)
        item, state = shard.item(index), shard.state[index]
        for way in ways(item, state):
            if way.item.request.provider == self.provider:
                self.jobs.update(way.item, way.state)
        self.handover.follow(item, state)
        self.books.update(shard.number, item, state)

    def halt(self, reason: StopReason, message: str, waits_for: WaitsFor | None = None) -> None:
        """Create nothing more in this run. That somebody asked for it outweighs all other reasons, and that
        the provider is gone those that leave something to follow."""
        asked = reason in ASKED and not self.stopped
        outweighs = asked or (reason is StopReason.UNREACHABLE and not self.stopped)
        if self.stop is None or outweighs:
            logger.warning("%s: no more creates: %s", self.provider, message)
            self.stop = Stop(reason, message, waits_for)
            self.books.budgets.end(self.provider)
        self.wake_up.wake()

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
    def looks(self) -> bool:
        """Whether it looks at its jobs itself, and not somebody else for it."""
        return self._lingers or self._creates

    @property
    def more_to_come(self) -> bool:
        """Whether further shards, or other providers, may still bring items."""
        return self.shards_to_come or (self.creates and self.handover.may_come(self.provider))

    @property
    def creating(self) -> bool:
        """Whether creates are to come or under way."""
        to_come = self.queues.to_create or self.queues.open or self.pending_waves or self.shards_to_come
        return bool(self.admission.sending) or (self.stop is None and bool(to_come))

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to follow."""
        return self.idle and (self.gone or not self.more_to_come)

    @property
    def idle(self) -> bool:
        """Whether nothing comes of it any more, unless something comes to it."""
        if self.gone:
            return not self.admission.sending
        running = (self._lingers and self.queues.running) or self.arrivals.concern(self.queues.running)
        return not (self.creating or self.queues.open or running)

    def follows(self, job: str) -> bool:
        """Whether a job is one that it waits for, or takes in all the same if it ends."""
        return job in self.queues.running or job in self.queues.overdue

    def mark_ambiguous(self, item: BatchItem, intent: Intent, rank: int) -> None:
        """A create was sent and its outcome is not known. `rank`: how many ids were known before it."""
        self.queues.open[item.index] = self.reopened(item, intent).sent(rank, present())
        self.admission.count_loss(item.index)
        self.wake_up.wake()

    def requeue(self, index: int) -> None:
        """An item turned out not to have been created: create it, if this run creates."""
        self.queues.open.pop(index, None)
        if self._creates:
            self.queues.to_create.append(index)
        self.wake_up.notify()

    def leave_open(self, index: int) -> None:
        """This run cannot find out what became of an item's create: a later one may."""
        self.queues.open.pop(index, None)
        self.wake_up.notify()

    def end_create(self) -> None:
        """A create has ended: after the last one there is nothing left to do but to poll."""
        if self.creating:
            self.wake_up.notify()
        else:
            self.wake_up.wake()

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
