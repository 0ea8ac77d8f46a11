"""What the batches under a root have under way, by their journals: no provider is asked."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from prefect_imagine.batches.fleet.dispatch import Dispatch, in_fleet
from prefect_imagine.batches.inbox import Delivery, delivered_batches, read_inbox
from prefect_imagine.batches.index import (
    DAY,
    active_batches,
    ensure_index,
    leave_out,
    unsettled_batches,
    written_since,
)
from prefect_imagine.batches.lease import running_shard
from prefect_imagine.batches.options import Timing
from prefect_imagine.batches.plan import read_planned_at
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import batch_of, shard_numbers
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.submission import Submission, read_submission
from prefect_imagine.billing.budgets.budget import read_budgets
from prefect_imagine.billing.budgets.left_behind import open_holders
from prefect_imagine.billing.root import settle_stock
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scope:
    """Which batches are looked at, and what of them.

    Attributes:
        days: those that were written to in the last so many days.
        unknown: whether items of unknown fate are looked for again.
        timing: when jobs count as overdue, of batches that do not say so themselves.
    """

    days: float
    unknown: bool = False
    timing: Timing = field(default_factory=Timing)


@dataclass
class UnderWay:
    """What one batch has under way.

    Attributes:
        jobs: by provider, those that run, by id.
        overdue: those that have run for longer than they should.
        newly_overdue: whether nobody has noted that of some of them.
        others: providers of attempts that are open, outputs to be stored, and items that are looked for.
        deliveries: what waits in its inbox, by key.
        submission: what the run has left that let its jobs go.
        held: whether a living process runs it, or a fleet goes on with it.
        fleet: how it was handed to that fleet.
        left_behind: whether somebody who has died holds credits of a budget for it.
    """

    batch_id: str
    jobs: dict[str, set[str]] = field(default_factory=dict)
    overdue: dict[str, set[str]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    deliveries: Mapping[str, Delivery] = field(default_factory=dict)
    newly_overdue: bool = False
    submission: Submission | None = None
    held: bool = False
    fleet: Dispatch | None = None
    left_behind: bool = False

    @property
    def providers(self) -> set[str]:
        """Whom there is something to ask."""
        return {*self.jobs, *self.others}

    @property
    def running(self) -> int:
        """How many jobs run."""
        return sum(map(len, self.jobs.values()))


def survey(store: Store, scope: Scope, now: datetime, only: Collection[str] | None = None) -> list[UnderWay]:
    """The batches under a root that have something under way, or books to be closed. Settled ones are never
    read. Raises `StoreError`.

    Args:
        now: by our own clock, as journals have it.
        only: of these batches alone.
    """
    ensure_index(store)
    delivered = delivered_batches(store)
    found: list[UnderWay] = []
    holders = _holders(store, now) if scope.unknown else frozenset()
    for batch_id in sorted({*_batches(store, scope), *holders}) if only is None else sorted(only):
        try:
            batch = _under_way(store, batch_id, scope, now)
            batch.left_behind = batch_id in holders
            if batch_id in delivered and not batch.held:
                batch.deliveries = read_inbox(store, batch_id)
        except StoreError as error:
            leave_out(batch_id, error)
            continue
        if batch.held or batch.providers or batch.submission is not None or batch.left_behind:
            found.append(batch)
    return found


def _holders(store: Store, now: datetime) -> frozenset[str]:
    """The batches that hold credits of budgets, and exist."""
    named = {batch_of(path) for path in open_holders(store, read_budgets(store), now)}
    return frozenset(name for name in named if read_planned_at(store, name) is not None)


def _batches(store: Store, scope: Scope) -> Iterator[str]:
    since = store.now() - scope.days * DAY
    if scope.unknown:
        return unsettled_batches(store, since)
    return written_since(store, sorted(active_batches(store)), since)


def _under_way(store: Store, batch_id: str, scope: Scope, now: datetime) -> UnderWay:
    batch = UnderWay(batch_id, submission=read_submission(store, batch_id), fleet=in_fleet(store, batch_id))
    numbers = shard_numbers(store, batch_id)
    if batch.fleet is not None or running_shard(store, batch_id) is not None:
        batch.held = True
        return batch
    take = partial(_take, batch, scope, timing_of(batch, scope), now)
    settle_stock(store, batch_id, numbers, take, listed=batch.submission is None)
    return batch


def timing_of(batch: UnderWay, scope: Scope) -> Timing:
    """When jobs of a batch count as overdue: as its run has said, but for kinds that the scope names."""
    if batch.submission is None:
        return scope.timing
    said = batch.submission.timing
    by_kind = {**said.longest_by_kind, **scope.timing.longest_by_kind}
    return said.model_copy(update={"longest_by_kind": by_kind})


def _take(batch: UnderWay, scope: Scope, timing: Timing, now: datetime, shard: Shard) -> None:
    looked_for = (Phase.OPEN, Phase.FINISHED, *((Phase.UNKNOWN,) if scope.unknown else ()))
    for item, known in shard.standings():
        provider = item.request.provider
        if known.phase in looked_for:
            batch.others.add(provider)
        elif known.phase is Phase.CREATED and known.id is not None:
            batch.jobs.setdefault(provider, set()).add(known.id)
            asked_at = known.intent_at or now
            if (now - asked_at).total_seconds() > timing.longest(item.request.kind):
                batch.overdue.setdefault(provider, set()).add(known.id)
                batch.newly_overdue |= known.reason is None
