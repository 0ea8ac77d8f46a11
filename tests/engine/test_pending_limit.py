"""What the refusals of creates are about is found out by reads, before jobs have ended."""

from __future__ import annotations

import asyncio

from prefect_imagine.engine.pending_limit import CreateRefusals, PendingLimit
from prefect_imagine.errors import RateLimitedError
from prefect_imagine.providers.limits.pacing import MAX_DOUBTS, Pacer, Permit, Priority
from prefect_imagine.providers.limits.rates import Rate
from tests.engine.fake_provider import moved_time

FULL = RateLimitedError("429: Too many requests")


class Key:
    """A key that nobody knows anything of yet."""

    def __init__(self, pacer: Pacer | None = None) -> None:
        self.pacer = pacer or Pacer()
        self.limit = PendingLimit()
        self.refusals = CreateRefusals(self.limit, self.pacer)

    async def sent(self, priority: Priority, status: int, pending: int) -> None:
        """A request is answered while so many jobs are pending."""
        self.pacer.answered(await self.permit(priority), status, {})
        if priority is Priority.READ and status == 200:
            self.refusals.read_passed(pending)
        elif priority is Priority.CREATE and status == 200:
            self.refusals.accepted(pending)
        elif priority is Priority.CREATE:
            self.refusals.refused(FULL, pending)

    async def permit(self, priority: Priority) -> Permit:
        """One that does not have to be waited for: time stands still."""
        async with asyncio.timeout(30):
            return await self.pacer.acquire(priority)

    async def waits(self, priority: Priority) -> bool:
        """Whether a request of this sort has to wait."""
        asking = asyncio.ensure_future(self.pacer.acquire(priority))
        for _ in range(10):
            await asyncio.sleep(0)
        waiting = not asking.done()
        asking.cancel()
        await asyncio.wait([asking])
        return waiting


async def test_a_full_queue_is_told_while_time_stands_still() -> None:
    key = Key()
    with moved_time():
        await key.sent(Priority.CREATE, 200, 0)
        for _ in range(2):
            assert key.limit.limit is None
            await key.sent(Priority.CREATE, 429, 3)
            await key.sent(Priority.READ, 200, 3)
        assert (key.limit.limit, key.pacer.limited) == (3, False)
        await key.permit(Priority.CREATE)


async def test_a_rate_is_no_full_queue_and_is_asked_only_once() -> None:
    key = Key()
    with moved_time():
        await key.sent(Priority.CREATE, 200, 0)
        await key.sent(Priority.CREATE, 429, 3)
        await key.sent(Priority.READ, 429, 3)
        assert [await key.waits(priority) for priority in Priority] == [True, True]
        key.pacer.doubt()
        assert await key.waits(Priority.READ)
    assert key.limit.limit is None


async def test_the_read_makes_no_pause_longer() -> None:
    asked, waiting = Key(), Key()
    with moved_time() as time:
        for key in (asked, waiting):
            await key.sent(Priority.CREATE, 200, 0)
            await key.sent(Priority.CREATE, 429, 3)
        await asked.sent(Priority.READ, 429, 3)
        time.now += 1.3  # the first pause and its jitter
        assert [await key.waits(Priority.READ) for key in (asked, waiting)] == [False, False]


async def test_a_rate_that_lets_a_request_pass_every_moment_is_measured_after_a_few_doubts() -> None:
    key = Key()
    with moved_time():
        await key.sent(Priority.CREATE, 200, 0)
        for _ in range(MAX_DOUBTS):
            await key.sent(Priority.CREATE, 429, 3)
            await key.sent(Priority.READ, 200, 3)
            await key.sent(Priority.CREATE, 200, 3)
        await key.sent(Priority.CREATE, 429, 3)
        assert await key.waits(Priority.READ)
    assert key.limit.limit is None


async def test_where_a_rate_is_known_it_is_believed() -> None:
    key = Key(Pacer(rate=Rate(1000, 1)))
    with moved_time() as time:
        await key.sent(Priority.CREATE, 200, 0)
        time.now += 1
        await key.sent(Priority.CREATE, 429, 3)
        assert await key.waits(Priority.READ)
