"""What the refusals of creates are about is found out by reads, before jobs have ended."""

from __future__ import annotations

import asyncio

import pytest

from prefect_imagine.engine.pending_limit import CreateRefusals, PendingLimit
from prefect_imagine.errors import AmbiguousCreateError, RateLimitedError
from prefect_imagine.providers.limits.pacing import MAX_DOUBTS, Pacer, Permit, Priority, SharedLimit
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


class Unset:
    """A limit over all machines that nobody has set, as the flows have one for each key."""

    async def acquire(self, priority: Priority) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("shared", [None, Unset()])
async def test_a_full_queue_is_told_while_time_stands_still(shared: SharedLimit | None) -> None:
    key = Key(Pacer(shared=shared))
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


async def test_refusals_of_one_moment_are_asked_about_once() -> None:
    key = Key()
    with moved_time():
        await key.sent(Priority.CREATE, 200, 0)
        two = [await key.permit(Priority.CREATE) for _ in range(2)]
        for permit in two:
            key.pacer.answered(permit, 429, {})
            key.refusals.refused(FULL, 3)
        await key.sent(Priority.READ, 200, 3)
        for _ in range(MAX_DOUBTS - 1):
            await key.sent(Priority.CREATE, 429, 3)
            await key.sent(Priority.READ, 200, 3)
    assert key.limit.limit == 3


def test_errors_in_a_row_may_be_a_full_queue_s() -> None:
    key = Key()
    unknown = AmbiguousCreateError("400: nope, later", status_code=400)
    key.refusals.in_doubt(unknown, 3)
    key.refusals.accepted(3)
    key.refusals.in_doubt(unknown, 3)
    assert key.limit.limit is None
    key.refusals.in_doubt(unknown, 3)
    assert key.limit.limit == 3


def test_an_outage_is_no_full_queue_unless_it_says_so() -> None:
    key = Key()
    for _ in range(9):
        key.refusals.in_doubt(AmbiguousCreateError("503: Service unavailable", status_code=503), 3)
        key.refusals.in_doubt(AmbiguousCreateError("a create got no answer"), 3)
    assert key.limit.limit is None
    told = AmbiguousCreateError("503: Too many jobs running", status_code=503)
    told.queue_full = True
    key.refusals.in_doubt(told, 3)
    assert key.limit.limit == 3


def test_a_limit_that_rises_is_noticed_the_sooner_the_lower_it_was() -> None:
    limit, creates = PendingLimit(), 0
    limit.refused(1)
    while (limit.limit or 0) < 12:
        limit.accepted((limit.limit or 0) - 1)
        creates += 1
    assert creates < 40


def test_a_limit_that_stays_is_tried_ever_more_rarely() -> None:
    limit, creates, refused = PendingLimit(), 0, 0
    limit.refused(8)
    for _ in range(2000):
        if (limit.limit or 0) > 8:
            limit.refused(8)
            refused += 1
        else:
            limit.accepted(7)
            creates += 1
    assert refused < creates / 60
