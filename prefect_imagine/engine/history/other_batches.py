"""Which jobs and open attempts others under the same root have: theirs are not adopted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prefect_imagine.batches.index import read_index
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.shards import FIRST, shard_numbers, shard_path
from prefect_imagine.billing.root import Books, Settled, Unsettled, list_settled, shard_books, take_stock
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.history.claims import claim_job
from prefect_imagine.engine.history.followed_shard import FollowedShard
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.rivals import OpenCreate
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

_Read = Callable[[Store, str, int], Books | None]


@dataclass
class OtherJobs:
    """What others hold at one provider.

    Attributes:
        ids: of their known jobs, with the provider's time at which each one's item was last asked for, where
            that was answered.
        creates: those of open or unknown fate.
        incomplete: one of them cannot be read.
    """

    ids: dict[str, datetime | None] = field(default_factory=dict)
    creates: list[OpenCreate] = field(default_factory=list)
    incomplete: bool = False


@dataclass(frozen=True)
class _Known:
    """A shard as it was when it was read.

    Attributes:
        seq: the last segment of its journal.
        jobs: `None` where it had settled, and created nothing in the window of that look.
        settled: how it has settled, if it has.
        followed: by which it is read on, where it has not.
    """

    seq: int
    jobs: OtherJobs | None
    settled: Settled | None = None
    followed: FollowedShard | None = None

    def is_of_use(self, since: datetime) -> bool:
        """Whether it says all that a look from then on has to know."""
        return self.jobs is not None or not _created_since(self.settled, since)


_NO_SHARD = _Known(0, OtherJobs())


class OtherBatches:
    """Reads what the other batches under one root, and the shards of this one that are not open here, hold at
    one provider, again only where their journals have grown; and claims jobs that none of them has.

    Args:
        held: the shards of this batch that are open here.
    """

    def __init__(
        self,
        store: Store,
        batch_id: str,
        identity: Callable[[BatchItem], RequestIdentity],
        held: Callable[[], Collection[int]],
    ) -> None:
        self._store = store
        self._batch_id = batch_id
        self._identity = identity
        self._held = held
        self._unreadable: set[str] = set()
        self._known: dict[str, _Known] = {}

    def claim(self, provider: str, job: str, shard: int) -> bool:
        """Claim a job for a shard of this batch, and say whether it is the shard's. Raises `StoreError`."""
        return claim_job(self._store, provider, job, shard_path(self._batch_id, shard))

    def jobs(self, provider: str, since: datetime) -> OtherJobs:
        """The ids and open creates of shards that are not settled, or have created something since then (by
        the provider's clock). Raises `StoreError`."""
        total = OtherJobs()
        index = read_index(self._store)
        for name in (*index.settled_since(since), *index.unsettled):
            read = take_stock if name in index.active else shard_books
            for found in self._readable(name, provider, since, read):
                total.ids.update(found.ids)
                total.creates += found.creates
                total.incomplete |= found.incomplete
        return total

    def _readable(self, batch_id: str, provider: str, since: datetime, read: _Read) -> Iterator[OtherJobs]:
        try:
            yield from self._of(batch_id, provider, since, read)
        except StoreError as error:
            if error.retryable:
                raise
            if batch_id not in self._unreadable:
                logger.warning("the neighbouring batch %s cannot be read: %s", batch_id, error)
            self._unreadable.add(batch_id)
            yield OtherJobs(incomplete=True)

    def _of(self, batch_id: str, provider: str, since: datetime, read: _Read) -> Iterator[OtherJobs]:
        held = self._held() if batch_id == self._batch_id else ()
        settled: dict[int, Settled] = {}
        unsettled = bool(held)
        for shard in shard_numbers(self._store, batch_id):
            if shard in held:
                continue
            known = self._shard(batch_id, shard, provider, since, read)
            if known.settled is not None:
                settled[shard] = known.settled
            else:
                unsettled = unsettled or known is not _NO_SHARD
            if known.jobs is not None:
                yield known.jobs
        if read is take_stock and not unsettled:
            list_settled(self._store, batch_id, settled)

    def _shard(self, batch_id: str, shard: int, provider: str, since: datetime, read: _Read) -> _Known:
        path = shard_path(batch_id, shard)
        known = self._known.get(path)
        if known is not None and known.followed is not None and known.followed.read_on(self._store):
            return self._keep(path, _of_followed(known.followed))
        if known is not None and known.followed is None and known.is_of_use(since):
            if self._store.head(segment_key(path, known.seq + 1)) is None:
                return known
        elif known is None and shard != FIRST and self._store.head(segment_key(path, 1)) is None:
            return self._keep(path, _Known(0, OtherJobs()))  # nobody has begun it
        return self._keep(path, self._read(read(self._store, batch_id, shard), provider, since))

    def _keep(self, path: str, known: _Known) -> _Known:
        self._known[path] = known
        return known

    def _read(self, found: Books | None, provider: str, since: datetime) -> _Known:
        if found is None:
            return _NO_SHARD
        if isinstance(found, Unsettled):
            return _of_followed(FollowedShard(found, provider, self._identity))
        settled = Settled(found.seq, found.last_create)
        jobs = _settled_jobs(found, provider) if _created_since(settled, since) else None
        return _Known(found.seq, jobs, settled)


def _of_followed(shard: FollowedShard) -> _Known:
    return _Known(shard.seq, OtherJobs(shard.ids, shard.creates), followed=shard)


def _created_since(settled: Settled | None, since: datetime) -> bool:
    last = None if settled is None else settled.last_create
    return last is not None and last >= since.replace(microsecond=0)


def _settled_jobs(settled: Settlement, provider: str) -> OtherJobs:
    jobs = settled.jobs.get(provider, {})
    return OtherJobs(ids={job: _moment(at) for job, at in jobs.items()})


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
