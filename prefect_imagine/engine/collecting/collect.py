"""Takes in what has ended of all batches under a root, and closes the books of those that are done."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.fleet.dispatch import Dispatch, read_dispatch, read_ends, stops_of
from prefect_imagine.batches.inbox import delivered_batches, remove_deliveries
from prefect_imagine.batches.submission import Submission
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.looks import Connected, Rows, connected, look_at_all
from prefect_imagine.engine.collecting.survey import Scope, UnderWay, survey, timing_of
from prefect_imagine.engine.collecting.take_in import (
    STORE_SECONDS,
    StagesOf,
    TakenIn,
    Visit,
    finish,
    plainly,
    take_in,
)
from prefect_imagine.engine.planning.accounts import Accounts, Shared
from prefect_imagine.engine.traces import collect_trace, tell_collected
from prefect_imagine.errors import BatchBusyError, FencedError, ImagineError
from prefect_imagine.reports.summary import RequestCounts, Summary, stopped
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

MOST_ROUNDS = 3
"""How often what is delivered meanwhile is taken in too."""


@dataclass(frozen=True)
class Collected:
    """What has become of one batch.

    Attributes:
        running: jobs that have not ended.
        unseen: how many of them the provider does not show: they may be another account's.
        busy: whether a process runs it, or a fleet goes on with it, so that it was left alone.
        fleet: how it was handed to that fleet.
        taken_in: where it stands, if something of it was taken in.
        submission: what the run has left that let its jobs go, if one has.
        problems: why not all of it could be looked at.
    """

    batch_id: str
    running: int = 0
    unseen: int = 0
    busy: bool = False
    fleet: Dispatch | None = None
    taken_in: TakenIn | None = None
    submission: Submission | None = None
    problems: tuple[str, ...] = ()

    @property
    def finished(self) -> TakenIn | None:
        """Where a batch stands whose jobs were let go, once the last of them has been taken in."""
        if self.taken_in is None or not self.taken_in.closed or self.submission is None:
            return None
        return self.taken_in

    @property
    def failed(self) -> bool:
        """Whether such a batch has ended with more failures than it was allowed."""
        if self.finished is None or self.submission is None:
            return False
        summary = self.finished.summary
        if self.submission.generation is not None and summary.error is not None:
            return True  # what has stopped its fleet, nobody has told of
        items = summary.items
        # What was not created, the run that let its jobs go has told of.
        return items.wanted - items.planned - items.stored > self.submission.allowed_failures


Announce = Callable[[Collected], Awaitable[None]]


async def silently(collected: Collected) -> None:
    """Announce nothing."""


async def collect(
    store: Store,
    accounts: Accounts,
    scope: Scope,
    shared: Shared = lambda account: None,
    stages: StagesOf = plainly,
    announce: Announce = silently,
) -> list[Collected]:
    """Look once per account at the jobs of all active batches that nobody runs, store what has ended, and
    close the books of those that are done. What is delivered meanwhile is taken in too.

    Args:
        announce: is awaited for each batch whose jobs were let go, once its books are closed. One that was
            announced by a process that died thereupon may be announced again.

    Raises:
        StoreError: the store is gone.
    """
    with collect_trace() as span:
        found = await _collect(store, accounts, scope, shared, stages, announce)
        tell_collected(span, len(found))
    return found


async def _collect(
    store: Store, accounts: Accounts, scope: Scope, shared: Shared, stages: StagesOf, announce: Announce
) -> list[Collected]:
    found: dict[str, Collected] = {}
    only: Collection[str] | None = None
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        for _ in range(MOST_ROUNDS):
            batches = await blocking(survey, store, scope, utc_now(), only)
            found |= {
                each.batch_id: Collected(each.batch_id, busy=True, fleet=each.fleet)
                for each in batches
                if each.held
            }
            free = [each for each in batches if not each.held]
            async with connected(free, accounts, shared) as those:
                rows = await look_at_all(free, those)
                for batch in free:
                    collected = await _collected(store, batch, those, rows, scope, stages)
                    found[batch.batch_id] = collected
                    if collected.finished is not None:
                        await announce(collected)
                        await blocking(finish, store, batch.batch_id)
                await those.traffic.note(store, blocking)
            read = [key for batch in free for key in batch.deliveries]
            await blocking(remove_deliveries, store, read)
            open_still = {each.batch_id for each in free if found[each.batch_id].running}
            only = open_still and open_still & await blocking(delivered_batches, store)
            if not only:
                break
    finally:
        await blocking.aclose()
    return list(found.values())


async def _collected(
    store: Store, batch: UnderWay, those: Connected, rows: Rows, scope: Scope, stages: StagesOf
) -> Collected:
    problems = tuple(those.failed[name] for name in sorted(batch.providers & those.failed.keys()))
    unseen = _unseen(batch, those, rows)
    visit = _visit(batch, rows, scope)
    if visit is None:
        return Collected(
            batch.batch_id, batch.running, unseen, submission=batch.submission, problems=problems
        )
    before = those.requests
    try:
        taken_in = await take_in(store, visit, those.accounts_of, stages, those.reached)
    except (BatchBusyError, FencedError):
        return Collected(batch.batch_id, batch.running, busy=True)
    except ImagineError as error:
        logger.warning("batch %s could not be collected: %s", batch.batch_id, error)
        return Collected(batch.batch_id, batch.running, problems=(*problems, str(error)))
    summary = _with_requests(taken_in, those.requests - before)
    if taken_in.closed and batch.submission is not None and batch.submission.generation is not None:
        summary = replace(summary, summary=await asyncio.to_thread(_as_fleet_ended, store, summary.summary))
    return Collected(
        batch_id=batch.batch_id,
        running=summary.summary.items.under_way,
        unseen=unseen,
        taken_in=summary,
        submission=batch.submission,
        problems=problems,
    )


def _as_fleet_ended(store: Store, summary: Summary) -> Summary:
    """The same with what the runs of a fleet's shards have said at their ends."""
    dispatch = read_dispatch(store, summary.batch_id)
    return summary if dispatch is None else stopped(summary, stops_of(read_ends(store, dispatch).values()))


def _unseen(batch: UnderWay, those: Connected, rows: Rows) -> int:
    asked = {name: jobs for name, jobs in batch.jobs.items() if name in rows and name not in those.failed}
    return sum(len(jobs - rows[name].keys()) for name, jobs in asked.items())


def _with_requests(taken_in: TakenIn, sent: Counter[str]) -> TakenIn:
    """With the requests that were sent for this batch alone."""
    summary = taken_in.summary.model_copy(update={"requests": RequestCounts(**sent)})
    return TakenIn(summary, taken_in.usage, taken_in.closed)


def _visit(batch: UnderWay, rows: Rows, scope: Scope) -> Visit | None:
    """What is to be done with a batch; `None` where nothing has changed."""
    seen: Rows = {}
    for provider, jobs in batch.jobs.items():
        shown = rows.get(provider, {})
        seen[provider] = {job: shown[job] for job in jobs if job in shown and shown[job].status.terminal}
    overdue = {name: jobs - seen.get(name, {}).keys() for name, jobs in batch.overdue.items()}
    left = batch.running - sum(map(len, seen.values()))
    waited_for = batch.submission is not None or batch.newly_overdue
    over = waited_for and left == sum(map(len, overdue.values()))
    if not (batch.others or any(seen.values()) or over or batch.left_behind):
        return None
    return Visit(
        batch.batch_id,
        unknown=scope.unknown,
        seen=seen,
        overdue=overdue,
        to_announce=batch.submission is not None,
        begun_in=None if batch.submission is None else batch.submission.traceparent,
        timing=timing_of(batch, scope),
    )
