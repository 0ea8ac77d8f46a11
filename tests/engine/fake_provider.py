"""A provider in memory whose answers and time are in the test's hands, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from prefect_imagine import clock
from prefect_imagine.batches.plan import BatchItem, Plan, make_item_id
from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    AmbiguousCreateError,
    ConnectionFailedError,
    ImagineError,
    InvalidRequestError,
    RateLimitedError,
)
from prefect_imagine.providers.limits.pacing import Permit, Priority
from prefect_imagine.providers.models import (
    Capabilities,
    Estimate,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
    Mark,
    Output,
)

PROVIDER = "aivisualstudio"
BEGAN = datetime(2025, 3, 1, tzinfo=UTC)
PRICE = 5


class Time:
    """Stands for the module `time` behind `boot_seconds`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock_gettime(self, clock_id: int) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@contextmanager
def moved_time() -> Iterator[Time]:
    """The boot clock stands still until it is moved."""
    with pytest.MonkeyPatch.context() as patch:
        time = Time()
        patch.setattr(clock, "time", time)
        yield time


class Crash(BaseException):
    """The process dies here; no handler of its own runs."""


@dataclass(frozen=True)
class Job:
    """An accepted job. `mark` says which attempt of which item it answers, whatever the API shows of it."""

    id: str
    request: GenerationRequest
    mark: str
    at: float
    visible_at: float


@dataclass
class Fate:
    """What becomes of one create: accepted so many seconds later (or not at all), answered how."""

    accepted_after: float | None = 0.0
    lag: float = 0.0
    answer: Callable[[], BaseException] | None = None


@dataclass
class FakeProvider:
    """The provider's side: its jobs, and what it is going to do with the next creates.

    `shown_after`: seconds after which its history shows a job.
    """

    time: Time | None = None
    lasts: float = 1.0
    shown_after: float = 0.0
    page: int = 100
    jobs: list[Job] = field(default_factory=list)
    fates: deque[Fate] = field(default_factory=deque)
    sent: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def now(self) -> float:
        return clock.boot_seconds()

    def begin_anew(self) -> None:
        """Forget everything, and count from one again."""
        self.jobs.clear()
        self._numbers = itertools.count(1)

    def accept(self, request: GenerationRequest, mark: str, *, after: float = 0.0, lag: float = 0.0) -> Job:
        """Take an order, now or in a moment."""
        at = self.now() + after
        job = Job(f"job-{next(self._numbers)}", request, mark, at, at + lag)
        self.jobs.append(job)
        return job

    def accepted(self) -> Counter[str]:
        """Jobs by prompt."""
        return Counter(job.request.prompt for job in self.jobs)

    def listed(self) -> list[Job]:
        """What the history shows now, newest first."""
        now = self.now()
        shown = [job for job in self.jobs if job.visible_at + self.shown_after <= now and job.at <= now]
        return sorted(shown, key=lambda job: job.at, reverse=True)

    def record(self, job: Job, *, correlates: bool) -> Generation:
        """What the API says of a job now."""
        done = self.now() >= job.at + self.lasts
        return Generation(
            provider=PROVIDER,
            id=job.id,
            status=GenerationStatus.SUCCEEDED if done else GenerationStatus.RUNNING,
            kind=job.request.kind,
            model=job.request.model,
            prompt=job.request.prompt,
            correlator=job.mark if correlates else None,
            outputs=(Output(text=f"{job.id} of {job.request.prompt}"),) if done else (),
            credits=PRICE,
            created_at=moment(job.at),
            provider_status="completed" if done else "processing",
        )


def moment(at: float) -> datetime:
    """A moment of the boot clock as the provider's clock has it."""
    return BEGAN + timedelta(seconds=at)


class FreePacer:
    """No limit at all."""

    limited = False
    led_by_headers = False
    seconds_per_request = 0.0
    passed_in_doubt = 0

    async def acquire(self, priority: Priority, *, demand: int = 0) -> Permit:
        return Permit(priority, clock.boot_seconds())

    def release(self, permit: Permit) -> None:
        """Nothing to give back."""

    def undo_backoff(self) -> None:
        """Nothing to forget."""

    def doubt(self) -> None:
        """Nobody waits."""


class FakeClock:
    """The provider's clock."""

    known = True

    def now(self) -> datetime:
        return moment(clock.boot_seconds())


class FakeClient:
    """One process's client of a `FakeProvider`.

    Attributes:
        while_creating: called in the middle of each create, before the provider sees it.
        while_answering: called when a create was accepted, before its answer arrives.
        before_page: called before a page of history is made up.
        while_reading: called after each page of history was made up, before it is handed over.
    """

    provider = PROVIDER
    base_url = "http://fake.invalid"
    lists_refused = False
    beside: Mapping[str, Generation] = MappingProxyType({})

    def __init__(self, server: FakeProvider, *, correlates: bool = False) -> None:
        self.server = server
        self.correlates = correlates
        self.capabilities = Capabilities(
            kinds=frozenset(GenerationKind),
            credits_on_create=True,
            mark=Mark.ECHOED if correlates else Mark.NONE,
        )
        self.pacer: Any = FreePacer()
        self.clock: Any = FakeClock()
        self.requests: Counter[str] = Counter()
        self.while_creating: Callable[[str, Deadline | None], Any] = nothing
        self.while_answering: Callable[[Job], Any] = nothing
        self.before_page: Callable[[], Any] = nothing
        self.while_reading: Callable[[], Any] = nothing

    def wire_prompt(self, request: GenerationRequest) -> str:
        return request.prompt

    def media_headers(self) -> dict[str, str]:
        return {}

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        assert correlator is not None
        await called(self.while_creating(correlator, deadline))
        if deadline is not None and deadline.passed:
            raise ConnectionFailedError("the deadline had passed")
        self.requests["create"] += 1
        self.server.sent[correlator] += 1
        fate = self.server.fates.popleft() if self.server.fates else Fate()
        job = None
        if fate.accepted_after is not None:
            job = self.server.accept(request, correlator, after=fate.accepted_after, lag=fate.lag)
        if fate.answer is not None:
            raise fate.answer()
        assert job is not None
        await called(self.while_answering(job))
        return self.server.record(job, correlates=self.correlates)

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        self.requests["poll"] += 1
        jobs = (job for job in self.server.jobs if job.at <= self.server.now())
        rows = {job.id: self.server.record(job, correlates=self.correlates) for job in jobs}
        self.beside = {job_id: row for job_id, row in rows.items() if job_id not in ids}
        return {job_id: row for job_id, row in rows.items() if job_id in ids}

    async def fetch(self, generation_id: str) -> Generation:
        return (await self.poll([generation_id]))[generation_id]

    async def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        self.requests["history"] += 1
        await called(self.before_page())
        rows = [self.server.record(job, correlates=self.correlates) for job in self.server.listed()]
        size = self.server.page
        pages = [rows[start : start + size] for start in range(0, len(rows), size)] or [[]]
        for place, page in enumerate(pages, start=1):
            await called(self.while_reading())
            yield HistoryPage(generations=tuple(page), end=place == len(pages))

    async def aclose(self) -> None:
        """Nothing is open."""


def nothing(*_: object) -> None:
    """Not interested."""


async def called(result: Any) -> None:
    """Wait for what a hook returned, if it can be waited for."""
    if asyncio.iscoroutine(result):
        await result


LOST = Fate(answer=lambda: AmbiguousCreateError("the answer was lost"))
LOST_BEFORE = Fate(accepted_after=None, answer=lambda: AmbiguousCreateError("cut before it was accepted"))
CRASHED = Fate(answer=Crash)
CRASHED_BEFORE = Fate(accepted_after=None, answer=Crash)
REFUSED = Fate(accepted_after=None, answer=lambda: InvalidRequestError("no"))
SLOWED = Fate(accepted_after=None, answer=lambda: RateLimitedError("slow down"))


def late(after: float, lag: float, answer: type[ImagineError] = AmbiguousCreateError) -> Fate:
    """Accepted after a while, when whoever asked has given up."""
    return Fate(after, lag, lambda: answer("timed out"))


def plan_of(
    *prompts: str, batch_id: str = "b", shard: int = 1, first: int = 1, provider: str = PROVIDER
) -> Plan:
    """A plan of these prompts: a whole batch, unless it is a further shard whose indices begin elsewhere."""
    items = []
    for index, prompt in enumerate(prompts, start=first):
        request = GenerationRequest(provider=provider, model="m", prompt=prompt)
        asked = request.fingerprint
        item_id = make_item_id(batch_id, index, asked)
        estimate = Estimate(credits=PRICE, source="catalog")
        items.append(BatchItem(index=index, item_id=item_id, asked=asked, request=request, estimate=estimate))
    return Plan(batch_id, BEGAN, tuple(items), shard)
