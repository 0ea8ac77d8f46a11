"""The lease: who lives runs the batch, who is dead does not hold it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.lease import LEASE_SECONDS, Lease, LeaseRecord, LeaseTimes
from prefect_imagine.batches.process_identity import ProcessIdentity, boot_id
from prefect_imagine.errors import BatchBusyError, StoreError
from prefect_imagine.stores import Store, open_store
from tests.batches.memory_store import InterferedStore, MemoryStore
from tests.engine.waiting import until

KEY = "b/lease.json"
BRISK = LeaseTimes(renew=0.05, look=0.1)
"""Renewals, and looks for them, in hundredths of a second."""


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    found = Blocking(patience=5.0)
    yield found
    found.close()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        found = open_store(str(tmp_path / "root"))
    else:
        found = open_store(f"s3://{request.getfixturevalue('aws').make_bucket()}/prefix")
    yield found
    found.close()


@asynccontextmanager
async def held(
    store: Store, blocking: Blocking, owner: ProcessIdentity | None = None
) -> AsyncIterator[Lease]:
    """The lease of a batch, as another process of this machine would hold it."""
    lease = Lease(store, blocking, "b", owner or ProcessIdentity.me(), BRISK)
    await lease.take(wait=False)
    try:
        yield lease
    finally:
        await lease.release()


def contender(
    store: Store, blocking: Blocking, owner: ProcessIdentity | None = None, **times: float
) -> Lease:
    """A lease that somebody else wants too."""
    return Lease(store, blocking, "b", owner or ProcessIdentity.me(), replace(BRISK, **times))


def record(store: Store) -> LeaseRecord:
    return LeaseRecord.model_validate_json(store.read(KEY) or b"")


def far_away() -> ProcessIdentity:
    """A process on another machine: nobody here can tell whether it lives."""
    return ProcessIdentity(token="theirs", host="elsewhere", boot="another boot", pid=1, started="1")


class AgedStore(MemoryStore):
    """The store's clock is ahead of all it has written."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def test_a_living_holder_keeps_everybody_else_off(store: Store, blocking: Blocking) -> None:
    async with held(store, blocking):
        with pytest.raises(BatchBusyError, match=r"process \d+ on .*--wait"):
            await contender(store, blocking).take(wait=False)


async def test_a_holder_elsewhere_is_believed_to_live(store: Store, blocking: Blocking) -> None:
    async with held(store, blocking, far_away()):
        with pytest.raises(BatchBusyError, match="elsewhere"):
            await contender(store, blocking).take(wait=False)


async def test_a_released_lease_is_free_at_once(store: Store, blocking: Blocking) -> None:
    async with held(store, blocking, far_away()):
        pass
    assert record(store).released
    async with held(store, blocking):
        assert not record(store).released


async def test_waiting_ends_when_the_holder_is_done(store: Store, blocking: Blocking) -> None:
    lease = contender(store, blocking, mine := ProcessIdentity.me())
    async with held(store, blocking):
        waiting = asyncio.ensure_future(lease.take(wait=True))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
    await waiting
    assert record(store).owner == mine
    await lease.release()


async def test_waiting_has_an_end(store: Store, blocking: Blocking) -> None:
    async with held(store, blocking):
        with pytest.raises(BatchBusyError):
            async with asyncio.timeout(10):
                await contender(store, blocking, longest_wait=0.3).take(wait=True)


@pytest.mark.parametrize(("wait", "most"), [(True, "24 hours"), (False, "15 seconds")])
async def test_waiting_is_told_once(
    store: Store, blocking: Blocking, caplog: pytest.LogCaptureFixture, wait: bool, most: str
) -> None:
    elsewhere = LeaseRecord(owner=far_away())
    store.put(KEY, elsewhere.model_dump_json().encode())
    lease = contender(store, blocking)
    taking = await still_waits(lease, wait=wait)
    store.put(KEY, elsewhere.model_copy(update={"released": True}).model_dump_json().encode())
    await taking
    await lease.release()
    (told,) = [each.getMessage() for each in caplog.records if each.name.startswith("prefect_imagine.")]
    assert (
        told == f"process 1 on elsewhere runs the batch, or did until now: waiting for it, for at most {most}"
    )


class RefusingStore(MemoryStore):
    """Refuses every conditional write."""

    def swap(self, key: str, data: bytes, version: str | None) -> bool:
        return False


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("there", [False, True])
async def test_a_lease_that_the_store_does_not_let_be_taken_is_given_up(
    blocking: Blocking, there: bool, force: bool
) -> None:
    refusing = RefusingStore()
    if there:
        record = LeaseRecord(owner=far_away(), released=not force)
        refusing.put(KEY, record.model_dump_json().encode())
    async with asyncio.timeout(10):
        with pytest.raises(StoreError, match=r"memory/b/lease\.json cannot be taken.*conditional writes"):
            await contender(refusing, blocking, stuck=0.3).take(wait=True, force=force)


async def test_a_holder_that_renews_is_waited_for_without_end(blocking: Blocking) -> None:
    store = MemoryStore()
    async with held(store, blocking, far_away()):
        taking = await still_waits(lease := contender(store, blocking, stuck=1.0), wait=True)
        beat = record(store).beat
        await until(lambda: record(store).beat >= beat + 40)
        assert not taking.done()
    await taking
    await lease.release()


async def test_of_two_that_take_it_at_once_one_gets_it(store: Store, blocking: Blocking) -> None:
    leases = [contender(store, blocking) for _ in range(2)]
    took = await asyncio.gather(*(each.take(wait=False) for each in leases), return_exceptions=True)
    assert sorted(type(one).__name__ for one in took) == ["BatchBusyError", "NoneType"]
    for each in leases:
        await each.release()


async def test_force_takes_it_from_the_living_who_does_not_take_it_back(
    store: Store, blocking: Blocking
) -> None:
    async with held(store, blocking, far_away()):
        lease = contender(store, blocking, mine := ProcessIdentity.me())
        await lease.take(wait=False, force=True)
        beat = record(store).beat
        await until(lambda: record(store).beat >= beat + 3)
        assert record(store).owner == mine
    assert not record(store).released, "who was robbed does not release what is not theirs"
    await lease.release()


async def test_a_holder_shows_that_it_lives(store: Store, blocking: Blocking) -> None:
    async with held(store, blocking):
        await until(lambda: record(store).beat >= 4)


async def still_waits(lease: Lease, *, wait: bool = False) -> asyncio.Task[None]:
    """A task that takes the lease, and has not got it yet."""
    taking = asyncio.create_task(lease.take(wait=wait))
    done, _ = await asyncio.wait([taking], timeout=0.5)
    assert not done
    return taking


async def test_age_is_told_by_the_stores_own_clock(blocking: Blocking) -> None:
    memory = AgedStore()
    memory.put(KEY, LeaseRecord(owner=far_away()).model_dump_json().encode())
    memory.ahead = LEASE_SECONDS - 5
    lease = contender(memory, blocking, mine := ProcessIdentity.me())
    taking = await still_waits(lease)
    memory.ahead = LEASE_SECONDS + 1
    await taking
    assert record(memory).owner == mine
    await lease.release()


@pytest.mark.parametrize("data", [b"", b"{", b'{"owner": 7}'])
async def test_a_lease_that_nobody_can_read_ends_like_any_other(blocking: Blocking, data: bytes) -> None:
    memory = AgedStore()
    memory.put(KEY, data)
    lease = contender(memory, blocking)
    taking = await still_waits(lease)
    memory.ahead = LEASE_SECONDS + 1
    await taking
    await lease.release()


async def test_a_write_that_met_itself_is_a_success(blocking: Blocking) -> None:
    """A bucket answers a repeated write with "exists"; the lease must not take itself for another."""
    memory = InterferedStore()
    memory.deny = lambda key: True
    async with asyncio.timeout(5), held(memory, blocking):
        await until(lambda: record(memory).beat >= 4)


CHILD = """
import sys
from prefect_imagine.batches.lease import LeaseRecord
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.stores import open_store

record = LeaseRecord(owner=ProcessIdentity.me())
assert open_store(sys.argv[1]).swap("b/lease.json", record.model_dump_json().encode(), None)
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that holds the lease until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, store.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"taken\n"
        yield child
        child.kill()


def seen(holder: subprocess.Popen[bytes], change: int) -> None:
    """Wait until a signal has had its effect, which takes its time, and leave the news for others."""
    os.waitid(os.P_PID, holder.pid, change | os.WNOWAIT)


@pytest.mark.skipif(not boot_id(), reason="the system does not tell its boot")
@pytest.mark.parametrize("reaped", [True, False])
async def test_a_dead_process_of_this_host_is_taken_over_at_once(
    store: Store, blocking: Blocking, holder: subprocess.Popen[bytes], reaped: bool
) -> None:
    lease = contender(store, blocking)
    with pytest.raises(BatchBusyError, match=f"process {holder.pid}"):
        await lease.take(wait=False)
    holder.kill()
    seen(holder, os.WEXITED)
    if reaped:
        holder.wait()
    async with asyncio.timeout(5):
        await lease.take(wait=False)
    assert record(store).owner.pid != holder.pid
    await lease.release()


@pytest.mark.skipif(not boot_id(), reason="the system does not tell its boot")
async def test_a_stopped_process_is_not_dead(
    store: Store, blocking: Blocking, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    seen(holder, os.WSTOPPED)
    taking = await still_waits(contender(store, blocking))
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)


def test_a_pid_that_was_given_to_another_process_is_not_the_holder() -> None:
    mine = ProcessIdentity.me()
    assert not mine.surely_dead
    assert mine.model_copy(update={"started": "1"}).surely_dead
    assert not mine.model_copy(update={"started": "1", "boot": "another"}).surely_dead
    assert not mine.model_copy(update={"started": "1", "boot": ""}).surely_dead


def test_two_attempts_of_one_process_are_two_owners() -> None:
    assert ProcessIdentity.me().token != ProcessIdentity.me().token
