"""A `Pacer`: permits in order, shared by a machine's processes, and inside the limit of a real server."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits import pacing
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.pace_store import FilePaceStore, MemoryPaceStore, machine_pace_store
from prefect_imagine.providers.limits.pacing import (
    REFUSED_WITHIN,
    Pacer,
    Permit,
    Priority,
)
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.sandbox import RateLimit, RunningSandbox

from .clients import OpenClient, asked

ADD = """
import sys
from dataclasses import replace
from pathlib import Path
from prefect_imagine.providers.limits.pace_store import FilePaceStore

cell = FilePaceStore(Path(sys.argv[1]), patience=60)
for _ in range(int(sys.argv[2])):
    cell.update(lambda pace: (replace(pace, in_flight=pace.in_flight + 1), None))
"""


def look(cell: FilePaceStore | MemoryPaceStore) -> Pace:
    """The pace in a cell."""
    return cell.update(lambda pace: (pace, pace))


async def test_a_file_is_exact_for_two_processes(tmp_path: Path) -> None:
    path = tmp_path / "pace" / "key.json"
    adders = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", ADD, str(path), "2000") for _ in range(2)
    ]
    assert [await adder.wait() for adder in adders] == [0, 0]
    assert look(FilePaceStore(path)).in_flight == 4000


def test_a_file_is_only_its_owner_s(tmp_path: Path) -> None:
    path = tmp_path / "pace" / "key.json"
    FilePaceStore(path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"in_flight": 7}', '{"saved_at": "x"}'])
def test_a_spoilt_file_starts_afresh(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    assert look(FilePaceStore(path)) == Pace()


def test_a_file_of_an_earlier_boot_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    FilePaceStore(path).update(lambda pace: (replace(pace, in_flight=7), None))
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"saved_at": saved["saved_at"] + 10**6}))
    assert look(FilePaceStore(path)) == Pace()


def test_a_pace_survives_the_file(tmp_path: Path) -> None:
    path, pace = tmp_path / "key.json", Pace(by_headers=True, limit=60, left=7, reset_at=3.5, freezes=2)
    FilePaceStore(path).update(lambda _: (pace, None))
    assert look(FilePaceStore(path)) == pace


def test_a_key_has_one_cell_on_a_machine() -> None:
    machine_pace_store("one").update(lambda pace: (replace(pace, in_flight=7), None))
    assert machine_pace_store("one").update(lambda pace: (pace, pace.in_flight)) == 7
    assert machine_pace_store("other").update(lambda pace: (pace, pace.in_flight)) == 0


async def test_without_a_folder_of_one_s_own_the_pace_is_this_process_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(machine_pace_store("one"), MemoryPaceStore)


async def opened(rate: Rate | None = None) -> Pacer:
    """A pacer whose first request has been answered, without headers."""
    pacer = Pacer(rate=rate)
    pacer.answered(await pacer.acquire(Priority.READ), 200, {})
    return pacer


async def test_reads_go_before_creates() -> None:
    pacer = await opened(Rate(2, 0.2))
    pacer.answered(await pacer.acquire(Priority.READ), 200, {})
    order: list[Priority] = []

    async def take(priority: Priority) -> None:
        order.append((await pacer.acquire(priority)).priority)

    async with asyncio.TaskGroup() as group:
        for priority in (Priority.CREATE, Priority.CREATE, Priority.READ, Priority.READ):
            group.create_task(take(priority))
            await asyncio.sleep(0)
    assert order == [Priority.READ, Priority.READ, Priority.CREATE, Priority.CREATE]


async def test_while_no_limit_is_known_few_creates_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "REFUSED_WITHIN", math.inf)
    pacer = Pacer(MemoryPaceStore())
    first = await pacer.acquire(Priority.CREATE)
    pacer.answered(first, 200, {})
    two = [await pacer.acquire(Priority.CREATE) for _ in range(2)]
    third = asyncio.ensure_future(pacer.acquire(Priority.CREATE))
    async with asyncio.timeout(30):
        pacer.release(await pacer.acquire(Priority.READ))  # it waits for no create
    assert not third.done()
    pacer.answered(two[0], 200, {})
    async with asyncio.timeout(30):
        await third


async def test_creates_that_take_long_do_not_hold_up_others() -> None:
    """An API that answers a create when its job has ended refuses one at once."""
    pacer = Pacer(MemoryPaceStore())
    pacer.answered(await pacer.acquire(Priority.CREATE), 200, {})
    async with asyncio.timeout(60):
        permits = [await pacer.acquire(Priority.CREATE) for _ in range(4)]
    assert permits[2].granted_at - permits[0].granted_at >= REFUSED_WITHIN


async def test_a_cancelled_waiter_takes_nothing() -> None:
    pacer = await opened(Rate(2, 0.1))
    waiting = [asyncio.create_task(pacer.acquire(Priority.READ)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    assert isinstance(await waiting[2], Permit)
    assert isinstance(await pacer.acquire(Priority.CREATE), Permit)


async def test_the_pacer_knows_when_requests_are_scarce() -> None:
    free, rated = await opened(), await opened(Rate(11, 10))
    assert (free.limited, free.seconds_per_request) == (False, 0.0)
    assert (rated.limited, rated.seconds_per_request) == (True, 1.0)
    told = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "60"}
    free.answered(await free.acquire(Priority.READ), 200, told)
    assert (free.limited, free.led_by_headers) == (True, True)
    assert free.seconds_per_request == pytest.approx(2.0, rel=0.1)


async def test_a_429_about_pending_jobs_quietens_nobody() -> None:
    pacer = await opened()
    told = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "60"}
    pacer.answered(await pacer.acquire(Priority.CREATE), 429, told, queue_full=True)
    async with asyncio.timeout(5):
        await pacer.acquire(Priority.CREATE)


class Gate:
    """A limit over all machines that counts who asks, and lets nobody through while closed."""

    def __init__(self) -> None:
        self.asked: list[Priority] = []
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def acquire(self, priority: Priority) -> None:
        self.asked.append(priority)
        self.reached.set()
        await self.open.wait()


async def test_the_limit_over_all_machines_is_asked_while_no_headers_tell() -> None:
    gate = Gate()
    gate.open.set()
    pacer = Pacer(shared=gate)
    told = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "60"}
    pacer.answered(await pacer.acquire(Priority.READ), 200, told)
    await pacer.acquire(Priority.CREATE)
    assert gate.asked == [Priority.READ]


async def test_a_read_waits_behind_one_create_at_most_where_the_shared_limit_is_slow() -> None:
    gate = Gate()
    pacer = Pacer(shared=gate)
    gate.open.set()
    pacer.answered(await pacer.acquire(Priority.READ), 200, {})
    gate.open.clear()
    gate.asked.clear()
    async with asyncio.TaskGroup() as group:
        for priority in [*[Priority.CREATE] * 5, Priority.READ]:
            group.create_task(pacer.acquire(priority))
            await asyncio.sleep(0)
        gate.open.set()
    assert gate.asked == [Priority.CREATE, Priority.READ, *[Priority.CREATE] * 4]


async def test_a_waiter_cancelled_at_the_shared_limit_gives_its_permit_back() -> None:
    gate = Gate()
    pacer = Pacer(shared=gate)
    waiting = asyncio.create_task(pacer.acquire(Priority.READ))
    await gate.reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    async with asyncio.timeout(5):
        await pacer.acquire(Priority.READ)


async def test_a_server_with_headers_never_answers_429(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    limit = RateLimit(20, 2.0, "fixed", headers=True)
    sandbox.configure(rate_limits={"aivisualstudio": limit})
    client = open_client("aivisualstudio", sandbox)
    calls = [client.create(asked("aivisualstudio", f"{number}")) for number in range(50)]
    calls += [client.check() for _ in range(10)]
    await asyncio.gather(*calls)
    counted = sandbox.report()["requests"]["aivisualstudio"]
    assert (counted["create"], counted["list"], counted["rate_limited"]) == (50, 10, 0)


def test_two_processes_on_one_key_stay_inside_the_limit(sandbox: RunningSandbox, tmp_path: Path) -> None:
    limit = RateLimit(20, 2.0, "fixed", headers=True)
    sandbox.configure(rate_limits={"aivisualstudio": limit})
    spend = """
import asyncio, sys
from prefect_imagine.providers.registry import account_from_environment, open_client

async def main():
    client = open_client(account_from_environment("aivisualstudio"))
    await asyncio.gather(*(client.check() for _ in range(25)))
    await client.aclose()

asyncio.run(main())
"""
    environment = {**sandbox.environment, "XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    spenders = [subprocess.Popen([sys.executable, "-c", spend], env=environment) for _ in range(2)]
    assert [spender.wait(60) for spender in spenders] == [0, 0]
    counted = sandbox.report()["requests"]["aivisualstudio"]
    assert (counted["list"], counted["rate_limited"]) == (50, 0)


class _Gate:
    """A shared limit that has slots only while it is open."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def acquire(self, priority: Priority) -> None:
        await self.opened.wait()


async def test_a_429_that_comes_while_a_shared_slot_is_waited_for_quiets_that_request_too() -> None:
    gate = _Gate()
    pacer = Pacer(MemoryPaceStore(), shared=gate)
    gate.opened.set()
    pacer.answered(await pacer.acquire(Priority.READ), 200, {})
    gate.opened.clear()
    waiting = asyncio.ensure_future(pacer.acquire(Priority.CREATE))
    await asyncio.sleep(0.01)
    refused_at = boot_seconds()
    pacer.answered(Permit(Priority.CREATE, refused_at), 429, {"retry-after": "0.2"})
    gate.opened.set()
    assert (await waiting).granted_at - refused_at >= 0.2
