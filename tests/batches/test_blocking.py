"""Blocking calls beside the event loop, and their end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.threads import DaemonPool
from tests.engine.waiting import until


class Gate:
    """A call that hangs until the test lets it go."""

    def __init__(self) -> None:
        self.entered = 0
        self.passed = 0
        self._release = threading.Event()

    def __call__(self) -> None:
        self.entered += 1
        self._release.wait(60)
        self.passed += 1

    def open(self) -> None:
        self._release.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open()


async def abandoned(blocking: Blocking, gate: Gate) -> None:
    """A call whose caller was cancelled and which goes on."""
    calling = asyncio.create_task(blocking.transfer(gate))
    await until(lambda: gate.entered == 1)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


async def test_the_end_waits_a_moment_only_and_holds_no_loop(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    blocking = Blocking(patience=1.0, pauses=Pauses(at_the_end=0.3))
    await abandoned(blocking, gate)
    closing = asyncio.create_task(blocking.aclose())
    await asyncio.sleep(0)
    assert not closing.done(), "the loop goes on while it waits"
    async with asyncio.timeout(10):
        await closing
    assert not gate.passed
    assert "left 1 calls of the store behind" in caplog.text


async def test_the_end_lets_a_running_call_finish(gate: Gate) -> None:
    blocking = Blocking(patience=1.0)
    await abandoned(blocking, gate)
    closing = asyncio.create_task(blocking.aclose())
    await asyncio.sleep(0)
    gate.open()
    await closing
    assert gate.passed == 1


async def test_a_call_that_has_not_begun_never_does(gate: Gate) -> None:
    blocking = Blocking(patience=1.0, transfers=1)
    await abandoned(blocking, gate)
    waiting = asyncio.create_task(blocking.transfer(gate))
    await asyncio.sleep(0)
    closing = asyncio.create_task(blocking.aclose())
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open()
    await closing
    assert gate.entered == 1


async def test_closing_at_once_waits_for_nobody(gate: Gate) -> None:
    blocking = Blocking(patience=1.0)
    running = asyncio.create_task(blocking.transfer(gate))
    await until(lambda: gate.entered == 1)
    blocking.close()
    assert gate.passed == 0
    gate.open()
    await running


ENDLESS = """
import asyncio, time
from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.blocking import Blocking

entered = []

def hang():
    entered.append(1)
    time.sleep(600)

async def main():
    blocking = Blocking(patience=1.0, pauses=Pauses(at_the_end=0.1))
    calling = [asyncio.create_task(call(hang)) for call in (blocking.transfer, blocking.once)]
    while len(entered) < 2:
        await asyncio.sleep(0.01)
    for each in calling:
        each.cancel()
    await blocking.aclose()

asyncio.run(main())
"""


@pytest.mark.timeout(300)
def test_a_call_that_hangs_does_not_hold_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", ENDLESS], check=False, timeout=120).returncode == 0


def test_no_more_threads_than_were_allowed() -> None:
    gate = threading.Barrier(3)
    with DaemonPool(3, "three") as pool:
        list(pool.map(lambda _: gate.wait(10), range(30)))
        assert sum(thread.name.startswith("three") for thread in threading.enumerate()) == 3


def test_what_a_call_raises_is_handed_over() -> None:
    with DaemonPool(1, "one") as pool, pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result()
    with pytest.raises(RuntimeError, match="one have been stopped"):
        pool.submit(print)
