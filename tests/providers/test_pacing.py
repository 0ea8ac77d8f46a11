"""A `Pacer`: permits in order, shared by a machine's processes, and inside the limit of a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits.pacing import FileCell, MemoryCell, Pacer, Permit, Urgency, machine_cell
from prefect_imagine.providers.limits.rates import Pace, Rate
from prefect_imagine.sandbox import RateLimit, RunningSandbox

from .clients import OpenClient, asked

ADD = """
import sys
from dataclasses import replace
from pathlib import Path
from prefect_imagine.providers.limits.pacing import FileCell

cell = FileCell(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    cell.update(lambda pace: (replace(pace, in_flight=pace.in_flight + 1), None))
"""


def look(cell: FileCell | MemoryCell) -> Pace:
    """The pace in a cell."""
    return cell.update(lambda pace: (pace, pace))


async def test_a_file_is_exact_for_two_processes(tmp_path: Path) -> None:
    path = tmp_path / "pace" / "key.json"
    adders = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", ADD, str(path), "2000") for _ in range(2)
    ]
    assert [await adder.wait() for adder in adders] == [0, 0]
    assert look(FileCell(path)).in_flight == 4000


def test_a_file_is_only_its_owner_s(tmp_path: Path) -> None:
    path = tmp_path / "pace" / "key.json"
    FileCell(path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"in_flight": 7}', '{"saved_at": "x"}'])
def test_a_spoilt_file_starts_afresh(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    assert look(FileCell(path)) == Pace()


def test_a_file_of_an_earlier_boot_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    FileCell(path).update(lambda pace: (replace(pace, in_flight=7), None))
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"saved_at": saved["saved_at"] + 10**6}))
    assert look(FileCell(path)) == Pace()


def test_a_pace_survives_the_file(tmp_path: Path) -> None:
    path, pace = tmp_path / "key.json", Pace(by_headers=True, limit=60, left=7, reset_at=3.5, freezes=2)
    FileCell(path).update(lambda _: (pace, None))
    assert look(FileCell(path)) == pace


def test_a_key_has_one_cell_on_a_machine() -> None:
    machine_cell("one").update(lambda pace: (replace(pace, in_flight=7), None))
    assert machine_cell("one").update(lambda pace: (pace, pace.in_flight)) == 7
    assert machine_cell("other").update(lambda pace: (pace, pace.in_flight)) == 0


async def test_without_a_folder_of_one_s_own_the_pace_is_this_process_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(machine_cell("one"), MemoryCell)


async def opened(rate: Rate | None = None) -> Pacer:
    """A pacer whose first request has been answered, without headers."""
    pacer = Pacer(rate=rate)
    pacer.answered(await pacer.acquire(Urgency.READ), 200, {})
    return pacer


async def test_reads_go_before_creates() -> None:
    pacer = await opened(Rate(2, 0.2))
    pacer.answered(await pacer.acquire(Urgency.READ), 200, {})
    order: list[Urgency] = []

    async def take(urgency: Urgency) -> None:
        order.append((await pacer.acquire(urgency)).urgency)

    async with asyncio.TaskGroup() as group:
        for urgency in (Urgency.CREATE, Urgency.CREATE, Urgency.READ, Urgency.READ):
            group.create_task(take(urgency))
            await asyncio.sleep(0)
    assert order == [Urgency.READ, Urgency.READ, Urgency.CREATE, Urgency.CREATE]


async def test_a_cancelled_waiter_takes_nothing() -> None:
    pacer = await opened(Rate(2, 0.1))
    waiting = [asyncio.create_task(pacer.acquire(Urgency.READ)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    assert isinstance(await waiting[2], Permit)
    assert isinstance(await pacer.acquire(Urgency.CREATE), Permit)


async def test_the_pacer_knows_when_requests_are_scarce() -> None:
    free, rated = await opened(), await opened(Rate(11, 10))
    assert (free.limited, free.seconds_per_request) == (False, 0.0)
    assert (rated.limited, rated.seconds_per_request) == (True, 1.0)
    told = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "60"}
    free.answered(await free.acquire(Urgency.READ), 200, told)
    assert (free.limited, free.led_by_headers) == (True, True)
    assert free.seconds_per_request == pytest.approx(2.0, rel=0.1)


async def test_a_429_that_says_requests_remain_quietens_nobody() -> None:
    pacer = await opened()
    told = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "60"}
    pacer.answered(await pacer.acquire(Urgency.CREATE), 429, told)
    async with asyncio.timeout(5):
        await pacer.acquire(Urgency.CREATE)


class Gate:
    """A limit over all machines that counts who asks, and lets nobody through while closed."""

    def __init__(self) -> None:
        self.asked: list[Urgency] = []
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def acquire(self, urgency: Urgency) -> None:
        self.asked.append(urgency)
        self.reached.set()
        await self.open.wait()


async def test_the_limit_over_all_machines_is_asked_while_no_headers_tell() -> None:
    gate = Gate()
    gate.open.set()
    pacer = Pacer(shared=gate)
    told = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "60"}
    pacer.answered(await pacer.acquire(Urgency.READ), 200, told)
    await pacer.acquire(Urgency.CREATE)
    assert gate.asked == [Urgency.READ]


async def test_a_read_waits_behind_one_create_at_most_where_the_shared_limit_is_slow() -> None:
    gate = Gate()
    pacer = Pacer(shared=gate)
    gate.open.set()
    pacer.answered(await pacer.acquire(Urgency.READ), 200, {})
    gate.open.clear()
    gate.asked.clear()
    async with asyncio.TaskGroup() as group:
        for urgency in [*[Urgency.CREATE] * 5, Urgency.READ]:
            group.create_task(pacer.acquire(urgency))
            await asyncio.sleep(0)
        gate.open.set()
    assert gate.asked == [Urgency.CREATE, Urgency.READ, *[Urgency.CREATE] * 4]


async def test_a_waiter_cancelled_at_the_shared_limit_gives_its_permit_back() -> None:
    gate = Gate()
    pacer = Pacer(shared=gate)
    waiting = asyncio.create_task(pacer.acquire(Urgency.READ))
    await gate.reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    async with asyncio.timeout(5):
        await pacer.acquire(Urgency.READ)


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

    async def acquire(self, urgency: Urgency) -> None:
        await self.opened.wait()


async def test_a_429_that_comes_while_a_shared_slot_is_waited_for_quiets_that_request_too() -> None:
    gate = _Gate()
    pacer = Pacer(MemoryCell(), shared=gate)
    gate.opened.set()
    pacer.answered(await pacer.acquire(Urgency.READ), 200, {})
    gate.opened.clear()
    waiting = asyncio.ensure_future(pacer.acquire(Urgency.CREATE))
    await asyncio.sleep(0.01)
    refused_at = boot_seconds()
    pacer.answered(Permit(Urgency.CREATE, refused_at), 429, {"retry-after": "0.2"})
    gate.opened.set()
    assert (await waiting).granted_at - refused_at >= 0.2
