"""Which jobs and open attempts the other batches under the same root have: theirs are not adopted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prefect_imagine.batches.index import read_index
from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.state import BatchState, may_have_unknown_job
from prefect_imagine.billing.root import Books, books_of, take_stock
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

_Read = Callable[[Store, str], Books | None]


@dataclass
class OtherJobs:
    """What other batches hold at one provider.

    Attributes:
        ids: of their known jobs, with the provider's time at which each one's item was last asked for.
        open_classes: what their creates of open or unknown fate asked for.
        incomplete: one of them cannot be read.
    """

    ids: dict[str, datetime | None] = field(default_factory=dict)
    open_classes: set[RequestIdentity] = field(default_factory=set)
    incomplete: bool = False


class OtherBatches:
    """Reads what the other batches under one root hold at one provider, again only where their journals have
    grown."""

    def __init__(self, store: Store, batch_id: str, identity: Callable[[BatchItem], RequestIdentity]) -> None:
        self._store = store
        self._batch_id = batch_id
        self._identity = identity
        self._unreadable: set[str] = set()
        self._read: dict[str, tuple[int, OtherJobs]] = {}

    def jobs(self, provider: str, since: datetime) -> OtherJobs:
        """The ids and open classes of batches that are active, or have created something since then (by the
        provider's clock). Raises `StoreError`."""
        total = OtherJobs()
        for name, read in self._readers(since).items():
            if name != self._batch_id:
                found = self._readable(name, provider, read)
                total.ids.update(found.ids)
                total.open_classes |= found.open_classes
                total.incomplete |= found.incomplete
        return total

    def _readers(self, since: datetime) -> Mapping[str, _Read]:
        index = read_index(self._store)
        only_read = (*index.settled_since(since), *index.strangers)
        return {**dict.fromkeys(only_read, books_of), **dict.fromkeys(index.active, take_stock)}

    def _readable(self, batch_id: str, provider: str, read: _Read) -> OtherJobs:
        try:
            return self._of(batch_id, provider, read)
        except StoreError as error:
            if error.retryable:
                raise
            if batch_id not in self._unreadable:
                logger.warning("the neighbouring batch %s cannot be read: %s", batch_id, error)
            self._unreadable.add(batch_id)
            return OtherJobs(incomplete=True)

    def _of(self, batch_id: str, provider: str, read: _Read) -> OtherJobs:
        known = self._read.get(batch_id)
        if known is not None and self._store.head(segment_key(batch_id, known[0] + 1)) is None:
            return known[1]
        found = read(self._store, batch_id)
        if found is None:
            self._read[batch_id] = (0, OtherJobs())
        elif isinstance(found, Settlement):
            self._read[batch_id] = (found.seq, _settled_jobs(found, provider))
        else:
            plan, reading = found
            self._read[batch_id] = (reading.seq, self._jobs_of(plan, reading.state, provider))
        return self._read[batch_id][1]

    def _jobs_of(self, plan: Plan, state: BatchState, provider: str) -> OtherJobs:
        items = [(item, state[item.index]) for item in plan.of(provider)]
        return OtherJobs(
            ids={charge.id: each.asked_at for _, each in items for charge in each.charges},
            open_classes={self._identity(item) for item, each in items if may_have_unknown_job(each)},
        )


def _settled_jobs(settled: Settlement, provider: str) -> OtherJobs:
    jobs = settled.jobs.get(provider, {})
    return OtherJobs(ids={job: _moment(at) for job, at in jobs.items()})


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
