"""Who runs a batch: liveness only. What keeps two writers apart is the journal's sequence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.clock import boot_seconds
from prefect_imagine.errors import BatchBusyError, ImagineError, StoreError
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
"""How long a lease holds others off that nobody renews: all processes and versions go by the same."""


@dataclass(frozen=True)
class LeaseTimes:
    """What a process does when with a lease, in seconds.

    Attributes:
        renew: from one renewal by its holder to the next.
        look: from one look of somebody who waits to the next, to begin with; later it is `renew`.
        longest_wait: for a batch that another process runs: none should last longer than its videos and its
            patience.
        stuck: for a lease that nobody renews and that cannot be taken all the same.
    """

    renew: float = 5.0
    look: float = 0.5
    longest_wait: float = 24 * 3600.0
    stuck: float = 2 * LEASE_SECONDS


_held: Counter[str] = Counter()
"""How many leases this process holds, by owner."""


def _is_over(owner: ProcessIdentity) -> bool:
    """Whether this owner writes no more: its process is gone, or is this one and has let go, which a full
    disk may have kept it from writing down."""
    return owner.surely_dead or (owner.is_this_process and not _held[owner.token])


class LeaseRecord(Frozen):
    """What stands in `lease.json`.

    Attributes:
        owner: the process that holds it.
        beat: makes each renewal a new version.
        released: whether the process has let go.
    """

    owner: ProcessIdentity
    beat: int = 0
    released: bool = False


@dataclass(frozen=True)
class Runner:
    """The process that runs a batch. `renewed`: seconds since it last said so, by the store's clock."""

    token: str
    host: str
    pid: int
    renewed: float


@dataclass(frozen=True)
class _Look:
    """A lease as it stood when it was looked at; `age` is by the store's clock."""

    holder: LeaseRecord | None
    version: str | None
    age: float

    @property
    def free(self) -> bool:
        """Whether nobody holds it."""
        holder = self.holder
        return holder is None or holder.released or _is_over(holder.owner) or self.age > LEASE_SECONDS


def who_runs(store: Store, path: str) -> Runner | None:
    """Who runs a batch at this moment, as far as its lease shows; `None` for nobody. Raises `StoreError`."""

    def clock() -> float:
        try:
            return store.now()
        except StoreError:
            return time.time()  # a folder that may only be read has no time

    look = _look(store, _key(path), clock)
    if look.holder is None or look.free:
        return None
    owner = look.holder.owner
    return Runner(owner.token, owner.host, owner.pid, max(0.0, look.age))


def running_shards(store: Store, batch_id: str) -> Iterator[str]:
    """The folders of those shards of a batch that some process runs at this moment. Raises `StoreError`."""
    paths = (shard_path(batch_id, number) for number in shard_numbers(store, batch_id))
    return (path for path in paths if who_runs(store, path) is not None)


def running_shard(store: Store, batch_id: str) -> str | None:
    """The first of them; `None` for nobody. Raises `StoreError`."""
    return next(running_shards(store, batch_id), None)


def is_held(store: Store, path: str) -> bool:
    """Whether some process has not let go of a batch, be it seen to live or not. Raises `StoreError`."""
    data = store.read(_key(path))
    try:
        return data is not None and not LeaseRecord.model_validate_json(data).released
    except ValidationError:
        return True


def _key(path: str) -> str:
    return f"{path}/lease.json"


def _look(store: Store, key: str, clock: Callable[[], float]) -> _Look:
    found = store.read_version(key)
    if found is None:
        return _Look(None, None, 0.0)
    data, version = found
    about = store.head(key)
    age = clock() - about.modified if about is not None else 0.0
    try:
        return _Look(LeaseRecord.model_validate_json(data), version, age)
    except ValidationError:
        # A lease nobody can read holds nobody off for longer than a readable one would.
        return _Look(
            LeaseRecord(owner=ProcessIdentity(token="", host="?", boot="", pid=0, started="")), version, age
        )


class _Waiting:
    """What somebody who waits for a lease has seen of it so far."""

    def __init__(self, place: str, times: LeaseTimes, *, wait: bool) -> None:
        self._place = place
        self._times = times
        self._wait = wait
        self._begun = boot_seconds()
        self._told = False
        self._last: _Look | None = None
        self._pause = 0.0
        self._still = 0.0

    def until_next(self, look: _Look) -> float:
        """Seconds until the next look at a lease that could not be had.

        Raises:
            BatchBusyError: its holder lives, and is not to be waited for any longer.
            StoreError: nobody renews it, and yet it cannot be had.
        """
        waited = boot_seconds() - self._begun
        if look.holder is not None and not look.free:
            self._check_holder(look.holder.owner, look, waited)
        self._check_movement(look)
        self._last = look
        self._pause = self._times.look if waited < LEASE_SECONDS else self._times.renew
        return self._pause

    def _check_holder(self, owner: ProcessIdentity, look: _Look, waited: float) -> None:
        # Of a process elsewhere one sees that it lives by its renewing the lease.
        renewed = self._last is not None and self._last.version not in (None, look.version)
        if (owner.surely_running or renewed) and not (self._wait and waited < self._times.longest_wait):
            raise BatchBusyError(
                f"the batch is being run by process {owner.pid} on {owner.host}: "
                "wait for it to end, or run again with --wait"
            )
        if not self._told:
            self._told = True
            hours = self._times.longest_wait / 3600
            most = f"{hours:.0f} hours" if self._wait else f"{LEASE_SECONDS:.0f} seconds"
            logger.warning(
                "process %d on %s runs the batch, or did until now: waiting for it, for at most %s",
                owner.pid,
                owner.host,
                most,
            )

    def _check_movement(self, look: _Look) -> None:
        stands = self._last is not None and self._last.version == look.version
        self._still = self._still + self._pause if stands else 0.0
        if self._still > self._times.stuck:
            raise StoreError(
                f"{self._place} cannot be taken, although nobody has renewed it for {self._times.stuck:.0f} "
                "seconds: does the store take conditional writes, and is its clock right?"
            )


class Lease:
    """Keeps `lease.json` fresh while this process runs a shard.

    Attributes:
        lost: set when somebody else is seen to hold it, or another lease that shares the event.
    """

    def __init__(
        self,
        store: Store,
        blocking: Blocking,
        path: str,
        owner: ProcessIdentity,
        times: LeaseTimes = LeaseTimes(),
        lost: asyncio.Event | None = None,
    ) -> None:
        self._store = store
        self._times = times
        self._blocking = blocking
        self._key = _key(path)
        self._owner = owner
        self._version: str | None = None
        self._beat = 0
        self._renewing: asyncio.Task[None] | None = None
        self.lost = lost or asyncio.Event()

    async def take(self, *, wait: bool, force: bool = False) -> None:
        """Become the one who runs the batch.

        A dead process on this host is taken over at once; any other when its lease has not been renewed
        for 15 seconds by the store's own clock. `force` does not ask: the other one is fenced off by the
        journal.

        Raises:
            BatchBusyError: another process is seen to live; with `wait`, after a day.
            StoreError: nobody renews the lease, and yet the store does not let it be taken.
        """
        waiting = _Waiting(f"{self._store.address}/{self._key}", self._times, wait=wait)
        while True:
            look = await self._blocking(_look, self._store, self._key, self._store.now)
            if (look.free or force) and await self._write(look.version, released=False):
                self._renewing = asyncio.create_task(self._renew())
                _held[self._owner.token] += 1
                return
            await asyncio.sleep(waiting.until_next(look))

    async def release(self) -> None:
        """Say that this process runs the batch no longer."""
        if self._renewing is None:
            return
        _held[self._owner.token] -= 1
        self._renewing.cancel()
        with suppress(asyncio.CancelledError):
            await self._renewing
        self._renewing = None
        with suppress(ImagineError, TimeoutError):
            async with asyncio.timeout(self._blocking.pauses.at_the_end):
                await self._blocking.once(self._swap, self._version, True)

    async def _write(self, version: str | None, *, released: bool) -> bool:
        return await self._blocking(self._swap, version, released)

    def _swap(self, version: str | None, released: bool) -> bool:
        """Write the next record in the place of this version; whether it is the one that stands now. A write
        that the store's client repeated has met itself."""
        self._beat += 1
        record = LeaseRecord(owner=self._owner, beat=self._beat, released=released)
        data = record.model_dump_json().encode()
        self._store.swap(self._key, data, version)
        found = self._store.read_version(self._key)
        if found is None or found[0] != data:
            return False
        self._version = found[1]
        return True

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._times.renew)
            try:
                if not await self._write(self._version, released=False):
                    self.lost.set()
                    return
            except ImagineError as error:
                logger.warning("the lease could not be renewed: %s", error)
