"""One run of a batch by one process: everything it needs, opened and closed in the right order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.commands import cancelled_since
from prefect_imagine.batches.control.wanted import Wanted
from prefect_imagine.batches.fleet.dispatch import end_submission
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import Stop, StopReason
from prefect_imagine.batches.submission import Submission, put_submission
from prefect_imagine.billing.budgets.waiting import Waiting, put_waiting, remove_waiting
from prefect_imagine.billing.credit_limit import CreditLimit
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.books import RunBooks
from prefect_imagine.engine.budgets.run_budgets import RunBudgets
from prefect_imagine.engine.control.desk import CommandDesk
from prefect_imagine.engine.deliveries import Deliveries
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.other_batches import OtherBatches
from prefect_imagine.engine.observer import Observer, Progress
from prefect_imagine.engine.open_shards import OpenShards
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.shards.feed import ShardFeed
from prefect_imagine.engine.shards.opener import ShardOpener
from prefect_imagine.engine.sharing.keys import SharedKeys
from prefect_imagine.engine.sharing.looks import looks_of
from prefect_imagine.engine.stages.create import CreateStage
from prefect_imagine.engine.stages.poll import PollStage, overdue_record
from prefect_imagine.engine.stages.store import StoreStage
from prefect_imagine.engine.traces import BatchTrace
from prefect_imagine.engine.ways.handover import Handover
from prefect_imagine.errors import ProviderError
from prefect_imagine.reports.books import write_books
from prefect_imagine.reports.position import Position, position_of
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Downloader, Store

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0


class Session:
    """One run of a batch. Belongs to the event loop that opened it."""

    def __init__(
        self,
        prepared: PreparedBatch,
        store: Store,
        blocking: Blocking,
        options: BatchOptions,
        opener: ShardOpener,
        wanted: Wanted,
        *,
        create: bool = True,
        lingers: bool = True,
        observer: Observer | None = None,
        trace: BatchTrace | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.batch_id = prepared.batch_id
        self._trace = trace or BatchTrace(prepared.batch_id)
        self.clients = prepared.clients
        self._identities = prepared.identities
        self.traffic = prepared.traffic
        self.store = store
        self.blocking = blocking
        self.options = options
        self.downloader = Downloader(concurrency=16)
        self.shards = OpenShards(prepared.difference.gone)
        self._part = prepared.part
        limit = CreditLimit(options.max_credits, options.max_credits_by_provider, prepared.share)
        # What others spend meanwhile would be this run's to explain.
        balances = prepared.balances if create and self._part is None else {}
        bills = {shard.number: shard.bill for shard in prepared.shards}
        self.budgets = RunBudgets(store, blocking, self.shards, now=now)
        self.books = RunBooks(self.batch_id, bills, limit, self.budgets, self.clients, balances)
        self.feed = ShardFeed(prepared, opener, self.shards, self.books, store, blocking)
        self._creates = create
        self._lingers = lingers and not options.detach
        self._existed = not prepared.fresh
        self._handover = Handover(prepared.without)
        items = {line.name: line.items for line in self.books.usage().by_provider}
        order = dict.fromkeys([*(name for name in items if name in self.clients), *self.clients])
        self.runs = {name: self._run(name, items.get(name, 0)) for name in order}
        self._handover.connect(self.runs)
        self.keys = SharedKeys(store, blocking, self.runs, prepared.identities)
        self.deliveries = Deliveries(store, blocking, self.batch_id, self.runs, blocking.pauses.between_looks)
        self.desk = CommandDesk(store, blocking, self.batch_id, wanted, self.shards, self.runs, limit)
        self.commands_seen = opener.commands_seen
        self.held = False
        self.stopped = asyncio.Event()
        self.fenced = opener.fenced
        self._loop = asyncio.get_running_loop()
        self._observer = observer
        self._stages = {provider: self._make_stages(run) for provider, run in self.runs.items()}

    async def create(self, provider: str, items: list[int]) -> list[int]:
        """Create these items, at most once each; returns those that did not get under way."""
        await self._here(provider).create(items)
        vain = (Phase.PLANNED, Phase.FAILED, Phase.UNKNOWN)
        return [index for index in items if self.shards.state(index).phase in vain]

    async def poll(self, provider: str) -> None:
        """Follow a provider's jobs until all have landed."""
        await self._here(provider).poll()

    async def store_outputs(self, provider: str, items: list[int]) -> list[int]:
        """Store these finished items; returns those that could not be stored for now."""
        await self._here(provider).store(items)
        return [index for index in items if self.shards.state(index).phase is not Phase.STORED]

    async def cancel_in_flight(self, provider: str) -> None:
        """Cancel this batch's jobs under way at a provider, one by one, where it can; jobs of others are
        never touched."""
        run = self.runs[provider]
        if not run.client.capabilities.cancel or not run.queues.running:
            return
        for job in list(run.queues.running):
            try:
                await run.client.cancel(job)
            except ProviderError as error:
                logger.warning("%s: job %s could not be cancelled: %s", provider, job, error)
        await self._here(provider).look()

    async def mark_overdue(self, jobs: Mapping[str, Collection[str]]) -> int:
        """Write down that these jobs, by provider, have run for longer than they should; returns how many of
        them still run. They are looked at all the same."""
        running = 0
        for provider, those in jobs.items():
            run = self.runs[provider]
            late = {job: run.queues.running[job].item for job in those if job in run.queues.running}
            running += len(late)
            new = [overdue_record(item, job) for job, item in late.items() if not run.state(item).reason]
            if new:
                await run.record(*new)
        return running

    def stop(self, reason: StopReason, message: str) -> None:
        """End soon: nothing more is created, what is being sent gets a moment to be answered."""
        for run in self.runs.values():
            run.halt(reason, message)
        self.stopped.set()

    @property
    def stops(self) -> list[Stop]:
        """Why not everything is created, of each provider with which that is so."""
        return [stop for name, run in self.runs.items() if (stop := run.stop or self.books.denial(name))]

    def was_stopped(self, reason: StopReason) -> bool:
        """Whether it was told to end for this reason."""
        return any(stop.reason is reason for stop in self.stops)

    def hold(self, held: bool) -> None:
        """Create nothing for now, while what was created is followed and stored; or go on."""
        self.held = held
        for run in self.runs.values():
            run.admission.hold("flow run", held)

    def progress(self) -> Progress:
        """How far the run is."""
        running = sum(len(run.queues.running) for run in self.runs.values())
        return Progress(self.books.counts, running, self.books.credit_limit.spent)

    async def position(self) -> Position:
        """Where the batch stands by now."""
        return await self.blocking(position_of, self.store, self.batch_id, self.shards.views)

    async def close_cancelled_books(self) -> tuple[Summary, Usage] | None:
        """The end of a run that was fenced off because somebody has cancelled its batch; `None` where nobody
        has. What it had created stands in the journals, which are not its own any more."""
        command = await self.blocking(cancelled_since, self.store, self.batch_id, self.commands_seen)
        if command is None:
            return None
        self.stop(StopReason.CANCELLED, f"cancelled {command.given}")
        if self._part is not None:
            return self._ended(self.books.usage())
        position = await self.blocking(position_of, self.store, self.batch_id)
        usage = position.bill.usage(utc_now())
        await self.blocking(write_books, self.store, usage)
        return self._ended(usage)

    @property
    def _is_let_go(self) -> bool:
        """Whether jobs run on that the run was told not to wait for: the books are for whoever collects."""
        asked = self.options.detach and not self.stopped.is_set()
        return asked and self.books.counts.under_way > 0

    async def close_books(self, *, to_announce: bool = False) -> tuple[Summary, Usage]:
        """Write manifest, bill and report, and sum the run up; leave word instead where jobs were let go, and
        that to the last one where others run the rest of the batch.

        Args:
            to_announce: whether somebody is going to announce the end of the batch, and only then is done
                with it.
        """
        await self._note_waiting()
        if self._part is not None:
            return await self.leave_books()
        if self._is_let_go:
            return await self._submit()
        # A run that was told to end waits for no provider.
        balances = () if self.stopped.is_set() else await self.books.balance_changes(self.traffic)
        # A stage that was cancelled may have left a record that is durable and in no book yet.
        self._update_books()
        await self.feed.meet_others()
        usage = self.books.usage(balances)
        await self.blocking(write_books, self.store, usage, self.shards.views)
        self._update_books()
        for shard in self.shards:
            await self.feed.settle(shard)
        await self.keys.leave_learned()
        if not to_announce and self._existed and not self.stopped.is_set():
            await self.blocking(end_submission, self.store, self.batch_id)
        await self.deliveries.tidy(settled=not to_announce and await self.feed.settle_batch())
        return self._ended(usage)

    async def _note_waiting(self) -> None:
        """Say that the batch goes on once its budget holds enough again, or that it waits for none."""
        if not self._creates:
            return
        waits_for = next((stop.waits_for for stop in self.stops if stop.waits_for is not None), None)
        if waits_for is not None and not self.stopped.is_set():
            waiting = Waiting(at=utc_now(), waits_for=waits_for, options=self.options)
            await self.blocking(put_waiting, self.store, self.batch_id, waiting)
        elif self._existed and self._part is None:
            await self.blocking(remove_waiting, self.store, self.batch_id)

    async def _submit(self) -> tuple[Summary, Usage]:
        submission = Submission(
            at=utc_now(),
            allowed_failures=self.options.allowed_failures,
            timing=self.options.timing,
            expected_at=max(
                (run.expected_end for run in self.runs.values() if run.expected_end), default=None
            ),
            traceparent=self._trace.traceparent,
        )
        await self.blocking(put_submission, self.store, self.batch_id, submission)
        return await self.leave_books(submission)

    async def leave_books(self, submission: Submission | None = None) -> tuple[Summary, Usage]:
        """Sum the run up without writing the books: jobs run on, and somebody will take them in."""
        self._update_books()
        await self.feed.meet_others()
        for shard in self.shards:
            await self.feed.settle(shard)
        await self.deliveries.tidy(settled=False)
        await self.keys.leave_learned()
        return self._ended(self.books.usage(), submission)

    def _update_books(self) -> None:
        for shard in self.shards:
            self.books.update_all(shard)

    def _ended(self, usage: Usage, submission: Submission | None = None) -> tuple[Summary, Usage]:
        summary = self.books.summary(usage, self.store.address, self.stops, submission)
        self._trace.ended(summary)
        if self._observer is not None:
            self._observer.closed(summary, usage)
        return summary, usage

    async def close(self) -> None:
        """Let creates that are being sent be answered, for a moment, and stop everything."""
        sends = [task for run in self.runs.values() for task in run.sends]
        if sends:
            await asyncio.wait(sends, timeout=GRACE_SECONDS)
        for task in sends:
            task.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        if self.stopped.is_set() and self.options.cancel_in_flight:
            for provider in self.runs:
                await self.cancel_in_flight(provider)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.blocking.pauses.at_the_end if self.stopped.is_set() else None):
                await self.shards.flush()
                for shard in self.shards:
                    self.books.update_all(shard)
                    await self.budgets.close(shard)
                await self.traffic.note(self.store, self.blocking)
        self.downloader.close()
        for shard in self.shards:
            await shard.release()

    def _here(self, provider: str) -> _Stages:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "a session works only in the event loop that prepared it: await its tasks there"
            )
        return self._stages[provider]

    def _run(self, provider: str, items: int) -> ProviderRun:
        def other_batches(identity: Callable[[BatchItem], RequestIdentity]) -> OtherBatches:
            return OtherBatches(self.store, self.batch_id, identity, lambda: self.shards.numbers)

        run = ProviderRun(
            provider,
            self.clients[provider],
            self.batch_id,
            self.shards,
            self.books,
            self.options,
            other_batches,
            create=self._creates,
            lingers=self._lingers,
            pauses=self.blocking.pauses,
            trace=self._trace,
            changed=partial(self._notice, provider),
            handover=self._handover,
        )
        run.expected = items
        return run

    def _notice(self, provider: str) -> None:
        """Something has changed with a provider: credits that come free there may be spent with another."""
        self.feed.moved.set()
        for name, run in self.runs.items():
            if name != provider:
                run.wake_up.move()

    def _make_stages(self, run: ProviderRun) -> _Stages:
        key = None if self._part is None else self._identities.get(run.provider)
        watcher = PollStage(run, self.blocking, looks_of(self.store, self.blocking, key))
        storer = StoreStage(run, self.store, self.downloader, self.blocking)
        return _Stages(CreateStage(run).wave, watcher.run, watcher.look, storer.wave)


@dataclass(frozen=True)
class _Stages:
    create: Callable[[list[int]], Awaitable[None]]
    poll: Callable[[], Awaitable[None]]
    look: Callable[[], Awaitable[None]]
    store: Callable[[list[int]], Awaitable[None]]
