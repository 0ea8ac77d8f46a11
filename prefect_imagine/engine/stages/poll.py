"""The poll stage: follows everything under way in bulk, and has open attempts settled meanwhile."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prefect_imagine.batches.accounts.shown import Shown
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.records import AnyItemRecord, Failed, Finished
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.cadence import RunningJob
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.sharing.looks import ALONE, Looks
from prefect_imagine.engine.stages.endings import Endings
from prefect_imagine.engine.stages.reconcile import Reconciler
from prefect_imagine.engine.traces import tell_seen
from prefect_imagine.errors import (
    AuthenticationError,
    ProviderError,
)
from prefect_imagine.providers.models import Generation

logger = logging.getLogger(__name__)

MAX_MISSED_POLLS = 5
VANISHED = "vanished"
HINTED = 6.0
HINTED_WHILE_CREATING = 30.0
"""How long a job that is said to have ended waits to be looked at with others, where looks cost creates."""
OVERDUE_SECONDS = 60.0
"""Between looks at jobs that the run does not wait for any more."""


class PollStage:
    """Follows one run's jobs until there is nothing left to follow."""

    def __init__(self, run: ProviderRun, blocking: Blocking, looks: Looks = ALONE) -> None:
        self._run = run
        self._looks = looks
        self._reconciler = Reconciler(run, blocking)
        self._endings = Endings(run.client)
        self._misses: Counter[str] = Counter()
        self._next_look = math.inf
        self._looked_at = -math.inf
        self._come = 0
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
                if run.arrivals.concern(run.queues.running):
                    await self._patiently(self._take_arrivals())
                if self._hints_in(boot_seconds()) <= 0:
                    await self._patiently(self._take_hints())
                if run.looks and run.queues.running and boot_seconds() >= self._next_look:
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
        self._next_look = self._when_to_look(now) if run.looks else math.inf
        wait = max(0.0, self._next_look - now)
        wait = min(wait, self._hints_in(now))
        if run.arrivals.concern(run.queues.running):
            return
        if run.queues.open:
            wait = min(wait, max(0.0, self._reconciler.next_read - now))
        elif not run.queues.running:
            # Nothing to look at yet: whatever comes up hurries this along or is seen in a moment.
            wait = min(wait, 1.0)
        if wait > 0:
            await run.wake_up.sleep(wait)

    def _when_to_look(self, now: float) -> float:
        run = self._run
        in_tail = not run.creating or run.admission.full() or run.admission.held
        wait = run.cadence.wait(
            run.queues.running.values(),
            creating=not in_tail,
            scarce=run.client.pacer.limited,
            full_in=self._full_in(),
            delivering=run.delivering,
            since_look=now - self._looked_at,
        )
        # Thinking again never puts a look off, since what hurries it along may come again and again; but
        # where ends are delivered it is for the oldest job, which may have ended.
        put_off = run.delivering or not run.queues.running
        return min(math.inf if put_off else self._next_look, now + wait)

    def _full_in(self) -> float | None:
        """Seconds until creates fill the queue that the provider was found to have."""
        run = self._run
        limit = run.admission.max_pending.limit
        if limit is None:
            return None
        if not run.creating:
            return math.inf
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
        begun, before = boot_seconds(), self._looked_at
        self._looked_at = begun
        shown = await self._looks.lately(run.queues.running, begun - before)
        to_ask = list(self._due(shown))
        seen = {} if shown is None else dict(shown.rows)
        if to_ask:
            seen.update(await self._seen(to_ask))
            await self._looks.tell(run.client.beside.values(), boot_seconds() - begun)
        if seen and not run.admission.readable:
            run.admission.readable = True
            run.wake_up.notify()
        with self._holding([*run.queues.overdue, *run.queues.running]):
            landed = await self._records(seen)
            if landed and run.arrivals.count == self._come:
                run.delivering = False  # until something is delivered again
            self._come = run.arrivals.count
            given_up = self._given_up(seen, set(to_ask))
            await self._write_down([*landed, *given_up])
        if to_ask:
            run.refusals.read_passed(len(run.queues.running))
        unseen = any(isinstance(entry, Failed) and entry.reason == VANISHED for entry in given_up)
        if unseen and run.client.lists_refused and not run.admission.readable:
            run.halt(StopReason.UNREADABLE, f"{run.provider}: this key may not read what it creates")

    def _due(self, shown: Shown | None) -> Iterator[str]:
        """The jobs to be asked for: those of which somebody else has seen nothing, or that were not there
        when they looked."""
        run = self._run
        jobs = {**self._overdue_again(), **run.queues.running}
        if shown is None:
            yield from jobs
            return
        looked_at = boot_seconds() - shown.age
        yield from (job for job, each in jobs.items() if job not in shown.rows and each.since < looked_at)

    async def _seen(self, jobs: Collection[str]) -> Mapping[str, Generation]:
        run = self._run
        with run.trace.poll(run.provider, len(jobs)) as span:
            seen = await run.client.poll(jobs)
            tell_seen(span, seen.values())
        return seen

    async def _take_arrivals(self) -> None:
        """Write down what has come of jobs by other ways."""
        run = self._run
        rows = run.arrivals.take_rows(run.queues.running)
        with self._holding(rows):
            await self._write_down(await self._records(rows))

    async def _take_hints(self) -> None:
        """Look at those jobs that are said to have ended."""
        run = self._run
        hinted = run.arrivals.take_hints(run.queues.running)
        try:
            seen = await self._seen(hinted)
        except ProviderError:
            run.arrivals.hint(hinted)
            raise
        with self._holding(seen):
            await self._write_down(await self._records(seen))

    @contextmanager
    def _holding(self, jobs: Iterable[str]) -> Iterator[None]:
        """Have the shards of these jobs not left while what has become of them is written down, also where
        nobody waits for what runs in them."""
        run = self._run
        followed = {**run.queues.overdue, **run.queues.running}
        items = [followed[job].item for job in jobs if job in followed]
        run.shards.enter(items)
        try:
            yield
        finally:
            run.shards.leave(items)
            run.wake_up.notify()

    def _hints_in(self, now: float) -> float:
        """Seconds until jobs are looked at that are said to have ended; some together, where looks cost
        creates."""
        run = self._run
        hinted = run.arrivals.hinted(run.queues.running) if run.looks else {}
        if not hinted:
            return math.inf
        if not run.client.pacer.limited or (not run.creating and 2 * len(hinted) >= len(run.queues.running)):
            return 0.0
        patience = HINTED_WHILE_CREATING if run.creating else HINTED
        return max(0.0, min(hinted.values()) + patience - now)

    async def _records(self, seen: Mapping[str, Generation]) -> list[AnyItemRecord]:
        """The records of jobs that have ended. Of a shard that was left meanwhile nothing is followed any
        more."""
        run = self._run
        followed = {**run.queues.overdue, **run.queues.running}
        shown = {job: row for job, row in seen.items() if job in followed}
        landed = [row for row in shown.values() if row.status.terminal]
        entries: list[AnyItemRecord] = [await self._ended(followed[row.id].item, row) for row in landed]
        flying = [followed[job] for job, row in shown.items() if not row.status.terminal]
        run.cadence.learn({followed[row.id]: row.lasted for row in landed}, flying)
        return entries

    async def _write_down(self, entries: Sequence[AnyItemRecord]) -> None:
        if entries:
            await self._run.record(*entries)
            for entry in entries:
                self._let_go(entry)
            self._run.wake_up.notify()

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
        ended = entry.id if isinstance(entry, Finished) else state.id
        job = run.queues.running.pop(ended or "", None)
        if isinstance(entry, Finished):
            run.queues.overdue.pop(entry.id, None)
        if state.phase is Phase.FINISHED:
            run.queues.to_store.append(entry.item)
        elif state.phase is Phase.CREATED and state.id and job is not None:
            run.queues.overdue[state.id] = job

    def _given_up(self, seen: Mapping[str, Generation], asked: Collection[str]) -> list[AnyItemRecord]:
        """What is not waited for any longer of all that has not ended."""
        run = self._run
        settled = boot_seconds() - run.timing.settle
        under_way = {
            job: each
            for job, each in run.queues.running.items()
            if job not in seen or not seen[job].status.terminal
        }
        self._misses.update(
            job
            for job, each in under_way.items()
            if job in asked and job not in seen and each.since < settled
        )
        entries: list[AnyItemRecord] = []
        for job, each in under_way.items():
            if job not in seen and self._misses[job] >= MAX_MISSED_POLLS:
                message = f"{run.provider} does not know generation {job} any more"
                entries.append(Failed(item=each.item, at=utc_now(), reason=VANISHED, message=message))
            elif each.overdue(run.timing.longest(each.kind)):
                entries.append(overdue_record(each.item, job))
        return entries


def overdue_record(item: int, job: str) -> Failed:
    """A job has run for longer than it should: nobody waits for it, and whoever looks takes it in."""
    message = f"generation {job} has not ended; a later run looks again"
    return Failed(item=item, at=utc_now(), reason="timeout", message=message)
