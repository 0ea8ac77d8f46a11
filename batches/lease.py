"""Who runs a batch: liveness only. What keeps two writers apart is the journal's sequence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from prefect_imagine.batches.offload import CLOSE_SECONDS, Offload
from prefect_imagine.batches.owner import Owner
from prefect_imagine.errors import BatchBusyError, ImagineError, StoreError
from prefect_imagine.providers.clock import boot_seconds
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
LOOK_SECONDS = 0.5
LONGEST_WAIT = 24 * 3600.0
"""For a batch that another process runs: none should last longer than its videos and its patience."""


_held: set[str] = set()
"""The owners by which this process holds leases."""


def _is_over(owner: Owner) -> bool:
    """Whether this owner writes no more: its process is gone, or is this one and has let go, which a full
    disk may have kept it from writing down."""
    return owner.surely_dead or (owner.is_this_process and owner.token not in _held)


class LeaseRecord(Frozen):
    """What stands in `lease.json`. `beat` makes each renewal a new version."""

    owner: Owner
    beat: int = 0
    released: bool = False


@dataclass(frozen=True)
class Runner:
    """The process that runs a batch. `renewed`: seconds since it last said so, by the store's clock."""

    token: str
    host: str
    pid: int
    renewed: float


def who_runs(store: Store, batch_id: str) -> Runner | None:
    """Who runs a batch at this moment, as far as its lease tells; `None` for nobody. Raises `StoreError`."""

    def clock() -> float:
        try:
            return store.now()
        except StoreError:
            return time.time()  # a folder that may only be read tells no time

    holder, _, age = _look(store, _key(batch_id), clock)
    if holder is None or holder.released or _is_over(holder.owner) or age > LEASE_SECONDS:
        return None
    return Runner(holder.owner.token, holder.owner.host, holder.owner.pid, max(0.0, age))


def _key(batch_id: str) -> str:
    return f"{batch_id}/lease.json"


def _look(store: Store, key: str, clock: Callable[[], float]) -> tuple[LeaseRecord | None, str | None, float]:
    found = store.read_version(key)
    if found is None:
        return None, None, 0.0
    data, version = found
    about = store.head(key)
    age = clock() - about.modified if about is not None else 0.0
    try:
        return LeaseRecord.model_validate_json(data), version, age
    except ValidationError:
        # A lease nobody can read holds nobody off for longer than a readable one would.
        return LeaseRecord(owner=Owner(token="", host="?", boot="", pid=0, started="")), version, age


class Lease:
    """Keeps `lease.json` fresh while this process runs a batch.

    Attributes:
        lost: set when somebody else is seen to hold it.
    """

    def __init__(self, store: Store, offload: Offload, batch_id: str, owner: Owner) -> None:
        self._store = store
        self._offload = offload
        self._key = _key(batch_id)
        self._owner = owner
        self._version: str | None = None
        self._beat = 0
        self._renewing: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    async def take(self, *, wait: bool, force: bool = False) -> None:
        """Become the one who runs the batch.

        A dead process on this host is taken over at once; any other when its lease has not been renewed
        for 15 seconds by the store's own clock. `force` does not ask: the other one is fenced off by the
        journal. Raises `BatchBusyError` when another process is seen to live; with `wait`, after a day.
        """
        begun = boot_seconds()
        seen: str | None = None
        while True:
            waited = boot_seconds() - begun
            holder, version, age = await self._offload(_look, self._store, self._key, self._store.now)
            free = holder is None or holder.released or _is_over(holder.owner) or age > LEASE_SECONDS
            if (free or force) and await self._write(version, released=False):
                self._renewing = asyncio.create_task(self._renew())
                _held.add(self._owner.token)
                return
            # Of a process elsewhere one sees that it lives by its renewing the lease.
            lives = holder is not None and (holder.owner.surely_running or seen not in (None, version))
            if holder is not None and lives and not free and not (wait and waited < LONGEST_WAIT):
                raise BatchBusyError(
                    f"the batch is being run by process {holder.owner.pid} on {holder.owner.host}: "
                    "wait for it to end, or run again with --wait"
                )
            seen = version
            await asyncio.sleep(LOOK_SECONDS if waited < LEASE_SECONDS else RENEW_SECONDS)

    async def release(self) -> None:
        """Say that this process runs the batch no longer."""
        if self._renewing is None:
            return
        _held.discard(self._owner.token)
        self._renewing.cancel()
        with suppress(asyncio.CancelledError):
            await self._renewing
        self._renewing = None
        with suppress(ImagineError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._offload.once(self._swap, self._version, True)

    async def _write(self, version: str | None, *, released: bool) -> bool:
        return await self._offload(self._swap, version, released)

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
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if not await self._write(self._version, released=False):
                    self.lost.set()
                    return
            except ImagineError as error:
                logger.warning("the lease could not be renewed: %s", error)
