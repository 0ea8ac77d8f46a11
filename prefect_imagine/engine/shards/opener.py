"""Taking over a shard: its lease, its journal, and what is written down before anything is created."""

from __future__ import annotations

import asyncio

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.commands import cancelled_since
from prefect_imagine.batches.control.given import GivenLimits, read_given, write_given
from prefect_imagine.batches.control.wanted import Wanted
from prefect_imagine.batches.index import put_mark
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.lease import Lease
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.records import Claim
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.billing.settlement import Settlement, read_settlement
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_shards import OpenShard
from prefect_imagine.engine.planning.again import Again
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.engine.shards.wishes import Wishes, record_wishes
from prefect_imagine.errors import FencedError, StoreError
from prefect_imagine.stores import Store


class ShardOpener:
    """Opens shards of one batch for one run.

    Attributes:
        fenced: set when another process is seen to hold one of them.

    Args:
        commands_seen: the last command that was given before this run began.
        wishes: what a person wants of the items; `None` where nothing is to be created.
        force: take them from a living process, which ends as fenced.
    """

    def __init__(
        self,
        store: Store,
        blocking: Blocking,
        batch_id: str,
        options: BatchOptions,
        commands_seen: int,
        wishes: Wishes | None,
        *,
        force: bool = False,
    ) -> None:
        self.fenced = asyncio.Event()
        self.commands_seen = commands_seen
        self._before: GivenLimits | None = None
        self._given: GivenLimits | None = None
        self._store = store
        self._blocking = blocking
        self._batch_id = batch_id
        self._options = options
        self._wishes = wishes
        self._force = force
        self._owner = ProcessIdentity.me()

    @classmethod
    def of(
        cls,
        prepared: PreparedBatch,
        store: Store,
        blocking: Blocking,
        options: BatchOptions,
        wanted: Wanted,
        *,
        asked_by: str,
        create: bool = True,
        force: bool = False,
    ) -> ShardOpener:
        """Of a batch that was prepared.

        Args:
            wanted: what its commands add up to.
            asked_by: names the run that asks. Begun again after a crash, it creates no failed item once more
                that it has created again already.
            create: whether anything is to be created.
        """
        again = Again(options, wanted.again())
        wishes = Wishes(again, prepared.difference, prepared.seen, asked_by) if create else None
        # What was commanded while it was prepared, or waited to be approved, is for this run.
        seen = wanted.last if prepared.commands_seen is None else prepared.commands_seen
        return cls(store, blocking, prepared.batch_id, options, seen, wishes, force=force)

    @property
    def set_after(self) -> int:
        """Of commands up to this one, limits are void. Known from the first shard on that is open."""
        return 0 if self._given is None else self._given.set_after

    async def open(self, number: int, *, settled_too: bool) -> OpenShard | Settlement:
        """Take a shard over; one that has settled by now is left alone, unless it is wanted too.

        Raises:
            BatchBusyError: another process runs it.
            FencedError: another process took it in the same moment.
            StoreError: the store is gone.
        """
        path = shard_path(self._batch_id, number)
        await self._check_cancelled()
        lease = Lease(self._store, self._blocking, path, self._owner, lost=self.fenced)
        await lease.take(wait=self._options.wait, force=self._force)
        try:
            await self._check_cancelled()  # it may have waited for long
            settlement = await self._blocking(read_settlement, self._store, path)
            if settlement is None or settled_too:
                return await self._taken_over(number, path, lease)
        except BaseException:
            await lease.release()
            raise
        await lease.release()
        return settlement

    def _claim(self, before: Claim | None) -> Claim:
        """The next claim. Limits that a command has set hold for runs that are given the same ones as the run
        before: it may have been killed. A person who gives others wants these."""
        claimed = GivenLimits() if before is None else _limits_of(before)
        last = self._before or claimed
        limits = _limits_of(self._options) if self._wishes is not None else last  # else it gives none
        if self._given is None:
            self._given = last.then(limits, self.commands_seen)
        return Claim(
            owner=self._owner.token,
            host=self._owner.host,
            at=utc_now(),
            max_credits=limits.max_credits,
            max_credits_by_provider=limits.max_credits_by_provider,
            set_after=self.set_after or None,
        )

    async def _check_cancelled(self) -> None:
        """Whoever cancels the batch fences those shards that are open: of the others one has to know it."""
        if self._force:
            return
        seen = self.commands_seen
        if await self._blocking(cancelled_since, self._store, self._batch_id, seen) is not None:
            raise FencedError(f"batch {self._batch_id!r} has been cancelled")

    async def _taken_over(self, number: int, path: str, lease: Lease) -> OpenShard:
        plan = await self._blocking(read_plan, self._store, self._batch_id, number)
        if plan is None:
            raise StoreError(f"the plan of {self._store.address}/{path} is gone")
        if self._given is None:
            self._before = await self._blocking(read_given, self._store, self._batch_id)
        journal = await Journal.open(self._store, self._blocking, path, self._claim)
        if self._wishes is not None and self._given not in (None, self._before or GivenLimits()):
            await self._blocking(write_given, self._store, self._batch_id, self._given)
            self._before = self._given
        await self._blocking(put_mark, self._store, self._batch_id, number, journal.seq)
        shard = OpenShard(plan, journal, lease)
        if self._wishes is not None:
            shard.gone = await record_wishes(shard, self._wishes)
        return shard


def _limits_of(told: BatchOptions | Claim) -> GivenLimits:
    set_after = told.set_after or 0 if isinstance(told, Claim) else 0
    return GivenLimits(
        max_credits=told.max_credits,
        max_credits_by_provider=told.max_credits_by_provider,
        set_after=set_after,
    )
