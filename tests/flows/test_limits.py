"""Rate limits shared through Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits.pace_store import MemoryPaceStore
from prefect_imagine.providers.limits.pacing import Pacer, Priority
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.tasks.limits import SLOTS_A_REQUEST, Patience, PrefectSharedLimit, Slots

pytestmark = pytest.mark.long

BUSY = Patience(answer=300.0)
"""For a Prefect server beside which other tests run: one that is given up would be no fault of the limit."""


@pytest.fixture
def no_server() -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield


async def test_two_processes_together_stay_inside_the_rate(prefect_server: str) -> None:
    rate = Rate(24, 6.0)
    name = f"test-{uuid4().hex[:8]}"
    machines = [PrefectSharedLimit(name, rate, BUSY) for _ in range(2)]
    taken: list[float] = []

    async def use(limit: PrefectSharedLimit) -> None:
        for _ in range(20):
            await limit.acquire(Priority.CREATE)
            taken.append(boot_seconds())

    await asyncio.gather(*(use(limit) for limit in machines))
    taken.sort()
    busiest = max(sum(start <= other < start + rate.seconds for other in taken) for start in taken)
    # What has been taken but not used by the end of a block may be used in the next window.
    assert busiest <= rate.limit + 2 * Slots.keeping(rate).block
    async with get_client() as client:
        made = await client.read_global_concurrency_limit_by_name(f"imagine-{name}")
    assert made.limit + made.slot_decay_per_second * rate.seconds <= rate.limit * SLOTS_A_REQUEST


async def test_a_limit_that_somebody_has_made_is_kept_by_runs_without_a_rate(prefect_server: str) -> None:
    name = f"test-{uuid4().hex[:8]}"
    made = PrefectSharedLimit(name, Rate(100, 360000.0), BUSY)  # no slot becomes free
    await made.acquire(Priority.READ)
    other = PrefectSharedLimit(name, None, BUSY)
    await other.acquire(Priority.CREATE)
    async with get_client() as client:
        found = await client.read_global_concurrency_limit_by_name(f"imagine-{name}")
    assert found.active_slots > SLOTS_A_REQUEST, "both took one"


async def test_where_nobody_has_made_one_nothing_is_shared_and_nothing_said(
    prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    alone = PrefectSharedLimit(f"test-{uuid4().hex[:8]}", None, BUSY)
    for _ in range(100):
        await alone.acquire(Priority.CREATE)
    assert not caplog.text


async def test_without_prefect_the_machine_paces_alone_and_says_so_once(
    no_server: None, caplog: pytest.LogCaptureFixture
) -> None:
    pacer = Pacer(MemoryPaceStore(), shared=PrefectSharedLimit("nobody", Rate(1000, 1.0)))
    for _ in range(3):
        permit = await pacer.acquire(Priority.READ)
        pacer.answered(permit, 200, {})
    assert caplog.text.count("not shared with other machines") == 1


async def test_a_server_that_does_not_answer_keeps_nobody(caplog: pytest.LogCaptureFixture) -> None:
    shared = PrefectSharedLimit("nobody", Rate(10, 1.0), Patience(answer=0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}):
            async with asyncio.timeout(60):
                await shared.acquire(Priority.READ)
    assert caplog.text.count("not shared with other machines") == 1


async def test_a_server_that_comes_back_is_shared_with_again(prefect_server: str) -> None:
    name = f"test-{uuid4().hex[:8]}"
    shared = PrefectSharedLimit(name, Rate(10, 2.0), replace(BUSY, alone=0.0))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        await shared.acquire(Priority.READ)
    await shared.acquire(Priority.READ)
    async with get_client() as client:
        assert await client.read_global_concurrency_limit_by_name(f"imagine-{name}")


@pytest.mark.parametrize(("limit", "decay"), [(SLOTS_A_REQUEST - 1, 10.0), (0, 10.0), (600, 0.0)])
def test_a_limit_that_no_request_fits_into_is_refused(limit: int, decay: float) -> None:
    with pytest.raises(LookupError, match=f"a limit of {limit} slots.*imagine limits --set"):
        Slots.known(limit, decay)


def test_a_limit_that_one_request_just_fits_into_is_used() -> None:
    assert Slots.known(SLOTS_A_REQUEST, 0.5) == Slots(SLOTS_A_REQUEST, 0.5, 1)


async def test_a_limit_made_by_hand_that_is_too_small_is_told_and_keeps_nobody(
    prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    shared = PrefectSharedLimit(f"test-{uuid4().hex[:8]}", None, BUSY)
    made = GlobalConcurrencyLimitCreate(name=shared.name, limit=60, slot_decay_per_second=0.001)
    async with get_client() as client:
        await client.create_global_concurrency_limit(made)
    async with asyncio.timeout(900):  # nothing becomes free in that time
        for _ in range(3):
            await shared.acquire(Priority.CREATE)
    assert caplog.text.count("not shared with other machines: a limit of 60 slots") == 1


class _Counted:
    """A shared limit that counts how often it is asked."""

    asked = 0

    async def acquire(self, priority: Priority) -> None:
        self.asked += 1


async def test_headers_beat_the_shared_limit() -> None:
    shared = _Counted()
    pacer = Pacer(MemoryPaceStore(), shared=shared)
    first = await pacer.acquire(Priority.READ)
    headers = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59", "x-ratelimit-reset": "30"}
    pacer.answered(first, 200, headers)
    await pacer.acquire(Priority.READ)
    assert shared.asked == 1
