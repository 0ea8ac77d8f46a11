"""The provider's own record of what it accepted and charged: what every bill is compared with."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from prefect_imagine.sandbox.core.settings import PROVIDERS, SandboxSettings

if TYPE_CHECKING:
    from prefect_imagine.sandbox.core.accounts import Account

Phase = Literal["running", "succeeded", "failed", "aborted"]
OPERATIONS = ("create", "read", "list", "login", "media", "other")
HANGING = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What a create asks for, checked and priced.

    `settings` is what came beside model and prompt; `error` what the job will fail with, `hangs` that it
    will never finish; `webhook_url` is an address of the create's own that is told of the job.
    """

    kind: str
    model: str
    prompt: str
    price: int
    ref: str | None = None
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    hangs: bool = False
    webhook_url: str | None = None


@dataclass(slots=True, eq=False)
class Job:
    """An accepted order. Its course is decided at acceptance and worked out from the time when looked at.

    `created_at` is epoch seconds of the sandbox's clock, `duration` seconds.
    """

    number: int
    id: str
    provider: str
    account: str
    order: Order
    created_at: float
    duration: float
    refundable: bool
    media_bytes: int | None
    image_pixels: int
    aborted_at: float | None = None
    deleted: bool = False
    url_version: int = 1
    expired_version: int = 0

    @property
    def prompt(self) -> str:
        return self.order.prompt

    @property
    def price(self) -> int:
        return self.order.price

    def fraction(self, now: float) -> float:
        """How far it has come, 0 to 1; one that hangs stops half-way."""
        end = now if self.aborted_at is None else self.aborted_at
        done = (end - self.created_at) / self.duration if self.duration > 0 else 1.0
        return min(done, HANGING) if self.order.hangs else max(0.0, min(done, 1.0))

    def phase(self, now: float) -> Phase:
        if self.aborted_at is not None:
            return "aborted"
        if self.order.hangs or now < self.created_at + self.duration:
            return "running"
        return "failed" if self.order.error is not None else "succeeded"

    def finished_at(self, now: float) -> float | None:
        if self.aborted_at is not None:
            return self.aborted_at
        return None if self.phase(now) == "running" else self.created_at + self.duration

    def credits(self, now: float) -> int:
        """Charged now: nothing once it failed or was cancelled and the credits came back."""
        lost = self.refundable and self.phase(now) in ("failed", "aborted")
        return 0 if lost else self.price

    def refresh_urls(self) -> None:
        """Showing the record hands out fresh addresses in place of expired ones."""
        if self.expired_version >= self.url_version:
            self.url_version += 1


class Books:
    """All jobs ever accepted since the last reset, deleted ones included, and all requests counted."""

    def __init__(self) -> None:
        self.epoch = 0
        self.reset()

    def reset(self) -> None:
        self.epoch += 1
        self.jobs: list[Job] = []
        self.by_id: dict[tuple[str, str], Job] = {}
        self.accepted: Counter[str] = Counter()
        self.by_prompt: dict[str, Counter[str]] = {provider: Counter() for provider in PROVIDERS}
        self.requests: dict[str, Counter[str]] = {provider: Counter() for provider in PROVIDERS}
        self.in_flight: Counter[str] = Counter()
        self.peak_in_flight: Counter[str] = Counter()
        self.credential_leaks = 0

    def accept(
        self, account: Account, order: Order, job_id: str, now: float, settings: SandboxSettings
    ) -> Job:
        """Take the order and charge for it. One step: whoever asks sees all of it or nothing."""
        job = Job(
            number=len(self.jobs) + 1,
            id=job_id,
            provider=account.provider,
            account=account.name,
            order=order,
            created_at=now,
            duration=_duration(settings, order.kind, len(self.jobs) + 1),
            refundable=settings.refund_failed,
            media_bytes=settings.media_bytes,
            image_pixels=settings.image_pixels,
        )
        self.jobs.append(job)
        self.by_id[job.provider, job.id] = job
        self.accepted[job.provider] += 1
        self.by_prompt[job.provider][order.prompt] += 1
        account.jobs.append(job)
        account.spent += order.price
        if order.error is not None:
            account.losses.append(job)
        return job

    def find(self, account: Account, job_id: str) -> Job | None:
        """The account's own job that the API still shows."""
        job = self.by_id.get((account.provider, job_id))
        return job if job and job.account == account.name and not job.deleted else None

    def abort(self, account: Account, job: Job, now: float) -> bool:
        """Cancel an unfinished job; False when it is finished already."""
        if job.phase(now) != "running":
            return False
        job.aborted_at = now
        if job not in account.losses:
            account.losses.append(job)
        return True

    def delete(self, account: Account, job: Job) -> None:
        """The API no longer shows it; the charge stays."""
        job.deleted = True
        account.jobs.remove(job)

    def arrive(self, provider: str, operation: str) -> None:
        self.requests[provider][operation] += 1
        self.in_flight[provider] += 1
        if self.in_flight[provider] > self.peak_in_flight[provider]:
            self.peak_in_flight[provider] = self.in_flight[provider]

    def leave(self, provider: str, status: int) -> None:
        self.in_flight[provider] = max(0, self.in_flight[provider] - 1)
        if status == 429:
            self.requests[provider]["rate_limited"] += 1

    def charged(self, now: float) -> dict[str, int]:
        totals = dict.fromkeys(PROVIDERS, 0)
        for job in list(self.jobs):
            totals[job.provider] += job.credits(now)
        return totals

    def peak_running(self, now: float) -> dict[str, int]:
        """The most jobs of each provider that were unfinished at one time."""
        peaks: dict[str, int] = {}
        for provider in PROVIDERS:
            jobs = [job for job in list(self.jobs) if job.provider == provider]
            events = [(job.created_at, 1) for job in jobs]
            events += [(end, -1) for job in jobs if (end := job.finished_at(now)) is not None]
            running = peak = 0
            for _, step in sorted(events):
                running += step
                peak = max(peak, running)
            peaks[provider] = peak
        return peaks


def _duration(settings: SandboxSettings, kind: str, number: int) -> float:
    """Seconds the job of this number takes: the same for the same seed, whatever else happens."""
    shortest, longest = settings.latency[kind]
    return random.Random(f"{settings.seed}:{number}").uniform(shortest, longest)
