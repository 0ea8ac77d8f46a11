"""The poll stage: follows everything under way in bulk, and has open attempts settled meanwhile."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Mapping

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.records import AnyItemRecord, Failed
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.cadence import RunningJob
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.stages.endings import Endings
from prefect_imagine.engine.stages.reconcile import Reconciler
from prefect_imagine.errors import (
    AuthenticationError,
    ProviderError,
)
from prefect_imagine.providers.models import Generation

logger = logging.getLogger(__name__)

MAX_MISSED_POLLS = 5
VANISHED = "vanished"
OVERDUE_SECONDS = 60.0
"""Between looks at jobs that the run does not wait for any more."""


class PollStage:
    """Follows one run's jobs until there is nothing left to follow."""

    def __init__(self, run: ProviderRun, blocking: Blocking) -> None:
        self._run = run
        self._reconciler = Reconciler(run, blocking)
        self._endings = Endings(run.client)
        self._misses: Counter[str] = Counter()
        self._next_look = math.inf
        self._troubles = 0
        self._overdue_look = 0.0

    async def run(self) -> None:
        """Look, at a cadence that spares the rate limit, until all have landed or the run has stopped."""
        run = self._run
        try:
            while not run.finished:
                await self._wait()
                if run.gone:
                    await run.wake_up.wait_for(lambda: not run.admission.sending)
                    return
                if run.queues.running and boot_seconds() >= self._next_look:
                    await self._patiently(self.look())
                    self._next_look = math.inf
                if run.queues.open and boot_seconds() >= self._reconciler.next_read:
                    await self._patiently(self._reconciler.reconcile())
                await run.shards.snapshot()
        finally:
            run.polling = False
            run.wake_up.notify()

    async def _wait(self) -> None:
        run = self._run
        now = boot_seconds()
        in_tail = not run.creating or run.admission.full() or run.admission.held
        wait = run.cadence.wait(
            run.queues.running.values(),
            creating=not in_tail,
            scarce=run.client.pacer.limited,
            full_in=self._full_in(),
        )
        # Thinking again never puts a look off: what hurries it along may come again and again.
        self._next_look = min(self._next_look if run.queues.running else math.inf, now + wait)
        wait = max(0.0, self._next_look - now)
        if run.queues.open:
            wait = min(wait, max(0.0, self._reconciler.next_read - now))
        elif not run.queues.running:
            # Nothing to look at yet: whatever comes up hurries this along or is seen in a moment.
            wait = min(wait, 1.0)
        if wait > 0:
            await run.wake_up.sleep(wait)
            if boot_seconds() < now + wait:
                return  # hurried: think again about when to look

    def _full_in(self) -> float | None:
        """Seconds until creates fill the queue that the provider was found to have."""
        run = self._run
        limit = run.admission.max_pending.limit
        if limit is None or not run.creating:
            return None
        room = limit - len(run.queues.running) - len(run.admission.sending)
        return max(0, room) * run.client.pacer.seconds_per_request

    async def _patiently(self, work: Awaitable[None]) -> None:
        run = self._run
        try:
            await work
        except AuthenticationError as error:
            run.halt(StopReason.UNREACHABLE, f"the key is not accepted any more: {error}")
        except ProviderError as error:
            self._troubles += 1
            run.trouble.failed()
            if run.trouble.expired:
                run.halt(StopReason.UNREACHABLE, f"no usable answer for too long: {error}")
                return
            logger.warning("%s: looking again later: %s", run.provider, error)
            await asyncio.sleep(run.pauses.after_failure(min(self._troubles, 5)))
        else:
            self._troubles = 0
            run.trouble.clear()

    async def look(self) -> None:
        """Look once at everything under way, and write down what has ended."""
        run = self._run
        followed = {**self._overdue_again(), **run.queues.running}
        seen = await run.client.poll(list(followed))
        run.reads_pass = True
        if seen and not run.admission.readable:
            run.admission.readable = True
            run.wake_up.notify()
        # Of a shard that was left meanwhile nothing is followed any more.
        followed = {**run.queues.overdue, **run.queues.running}
        landed = [row for job, row in seen.items() if job in followed and row.status.terminal]
        entries: list[AnyItemRecord] = [await self._ended(followed[row.id].item, row) for row in landed]
        flying = [followed[job] for job, row in seen.items() if job in followed and not row.status.terminal]
        run.cadence.learn({followed[row.id]: row.lasted for row in landed}, flying)
        entries += self._given_up(seen)
        if not entries:
            return
        await run.record(*entries)
        for entry in entries:
            self._let_go(entry)
        unseen = any(isinstance(entry, Failed) and entry.reason == VANISHED for entry in entries)
        if unseen and run.client.lists_refused and not run.admission.readable:
            run.halt(StopReason.UNREADABLE, f"{run.provider}: this key may not read what it creates")
        run.wake_up.notify()

    async def _ended(self, index: int, row: Generation) -> AnyItemRecord:
        charges = self._run.state(index).charges
        charged = next((each.credits for each in charges if each.id == row.id), None)
        return await self._endings.record(index, row, charged)

    def _overdue_again(self) -> dict[str, RunningJob]:
        """Jobs that are overdue, when it is time to look at them once more beside the others."""
        run = self._run
        if not run.queues.overdue or boot_seconds() < self._overdue_look:
            return {}
        self._overdue_look = boot_seconds() + OVERDUE_SECONDS
        return dict(run.queues.overdue)

    def _let_go(self, entry: AnyItemRecord) -> None:
        run = self._run
        state = run.state(entry.item)
        job = run.queues.running.pop(state.id or "", None)
        if state.phase is Phase.FINISHED:
            run.queues.overdue.pop(state.id or "", None)
            run.queues.to_store.append(entry.item)
        elif state.phase is Phase.CREATED and state.id and job is not None:
            run.queues.overdue[state.id] = job

    def _given_up(self, seen: Mapping[str, Generation]) -> list[AnyItemRecord]:
        """What is not waited for any longer of all that has not ended."""
        run = self._run
        settled = boot_seconds() - run.timing.settle
        under_way = {
            job: each
            for job, each in run.queues.running.items()
            if job not in seen or not seen[job].status.terminal
        }
        self._misses.update(
            job for job, each in under_way.items() if job not in seen and each.since < settled
        )
        entries: list[AnyItemRecord] = []
        for job, each in under_way.items():
            if job not in seen and self._misses[job] >= MAX_MISSED_POLLS:
                message = f"{run.provider} does not know generation {job} any more"
                entries.append(Failed(item=each.item, at=utc_now(), reason=VANISHED, message=message))
            elif each.overdue(run.timing.longest(each.kind)):
                message = f"generation {job} has not ended; a later run looks again"
                entries.append(Failed(item=each.item, at=utc_now(), reason="timeout", message=message))
        return entries
