"""How many jobs a provider takes at once, and how its refusals tell."""

from __future__ import annotations

from prefect_imagine.errors import AmbiguousCreateError, RateLimitedError
from prefect_imagine.providers.limits.pacing import Pacer

CREATES_BETWEEN_PROBES = 3
"""Accepted creates for each job that may be pending, after which one more is tried: the fewer a provider
takes, the more one more is worth."""
MAX_CREATES_BETWEEN_PROBES = 12
LEAST_BETWEEN_PROBES = 0.25
ERRORS_OF_A_FULL_QUEUE = 2
"""Creates in a row that are answered with an error, while jobs are pending, after which the queue may be full
although nobody says so in words that are known."""


class PendingLimit:
    """Learns from a provider's refusals how many jobs may be pending at once.

    After some accepted creates one job more is tried; each one that passes halves the way to the next, and
    each refusal doubles it.
    """

    def __init__(self) -> None:
        self._limit: float | None = None
        self._patience = float(CREATES_BETWEEN_PROBES)
        self._refused_at = 0

    @property
    def limit(self) -> int | None:
        """How many may be pending; `None` where nothing has shown a limit."""
        return None if self._limit is None else int(self._limit)

    def begin_at(self, limit: int) -> None:
        """Begin with a limit that was found before."""
        self._limit = float(limit)
        self._refused_at = limit

    def reached(self, pending: int) -> bool:
        """Whether so many jobs are all that the provider takes."""
        return self.limit is not None and pending >= self.limit

    def accepted(self, pending: int) -> None:
        """A create passed while so many jobs were pending."""
        if self._limit is None:
            return
        if pending + 1 >= int(self._limit) > self._refused_at:
            self._refused_at = int(self._limit)
            self._patience = max(LEAST_BETWEEN_PROBES, self._patience / 2)
        self._limit += 1 / max(1.0, self._patience * int(self._limit))

    def refused(self, pending: int) -> None:
        """A create was refused because so many jobs were pending."""
        if self._limit is not None:
            self._patience = min(MAX_CREATES_BETWEEN_PROBES, 2 * self._patience)
        self._limit = float(pending)
        self._refused_at = pending


class CreateRefusals:
    """Tells what the refusals of creates are about: the jobs pending, or the rate.

    A rate refuses reads as well. Where nothing else tells which of the two it was, a read is sent at once,
    before many jobs can have ended, and a create after it: the queue is full if the read passes twice and the
    create does not.

    Attributes:
        count: how many there were since a create was accepted.
    """

    def __init__(self, limit: PendingLimit, pacer: Pacer) -> None:
        self.count = 0
        self._limit = limit
        self._pacer = pacer
        self._reads_pass = False
        self._passed_before = 0
        self._errors = 0

    def accepted(self, pending: int) -> None:
        """A create passed while so many jobs were pending."""
        self.count = self._errors = 0
        self._passed_before = self._pacer.passed_in_doubt
        self._limit.accepted(pending)

    def refused(self, error: RateLimitedError, pending: int) -> bool:
        """A create was refused while so many jobs were pending. Returns whether a look helps to tell why."""
        self.count += 1
        may_be_full = not self._pacer.led_by_headers
        unexplained = may_be_full and error.retry_after is None
        probed = may_be_full and self._limit.reached(pending + 1)
        patiently = self.count > 1 and self._reads_pass and not self._passed_in_doubt
        self._reads_pass = False
        if pending and (error.queue_full or probed or patiently):
            self._limit.refused(pending)
            if unexplained:
                self._pacer.undo_backoff()
            return False
        if pending and unexplained:
            self._pacer.doubt()
        return bool(pending) and may_be_full

    def in_doubt(self, error: AmbiguousCreateError, pending: int) -> None:
        """A create may have been accepted, or refused, while so many jobs were pending. If the queue is full,
        the next had better wait for a job to end: each that is refused stays open for minutes."""
        self._errors += error.status_code is not None and 400 <= error.status_code < 500
        if pending and (error.queue_full or self._errors >= ERRORS_OF_A_FULL_QUEUE):
            self._limit.refused(pending)

    def read_passed(self, pending: int) -> None:
        """A look has passed, after which so many jobs are pending."""
        self._reads_pass = True
        if pending and self.count > 1 and self._passed_in_doubt > 1:
            self._passed_before = self._pacer.passed_in_doubt
            self._limit.refused(pending)

    @property
    def _passed_in_doubt(self) -> int:
        return self._pacer.passed_in_doubt - self._passed_before
