"""One account's rate limit: three ways to count, one verdict."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prefect_imagine.sandbox.core.settings import RateLimit


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request passes. `reset_at` is when the next one may (refused) or the window ends; epoch s."""

    allowed: bool
    remaining: int
    reset_at: float


class Limiter(Protocol):
    def take(self, now: float) -> Verdict: ...

    def look(self, now: float) -> Verdict:
        """What the headers say without spending a request."""
        ...


class Unlimited:
    def take(self, now: float) -> Verdict:
        return Verdict(True, 0, now)

    look = take


class FixedWindow:
    """The window opens with its first request and forgets everything when it ends."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._ends, self._used = 0.0, 0

    def take(self, now: float) -> Verdict:
        if now >= self._ends:
            self._ends, self._used = now + self._seconds, 0
        allowed = self._used < self._limit
        self._used += allowed
        return Verdict(allowed, self._limit - self._used, self._ends)

    def look(self, now: float) -> Verdict:
        if now >= self._ends:
            return Verdict(True, self._limit, now + self._seconds)
        return Verdict(self._used < self._limit, self._limit - self._used, self._ends)


class SlidingWindow:
    """At most `limit` requests in any `seconds`: each request frees its place `seconds` after it came."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._taken: deque[float] = deque()

    def take(self, now: float) -> Verdict:
        self._forget(now)
        allowed = len(self._taken) < self._limit
        if allowed:
            self._taken.append(now)
        return self._verdict(allowed, now)

    def look(self, now: float) -> Verdict:
        self._forget(now)
        return self._verdict(len(self._taken) < self._limit, now)

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0] <= now - self._seconds:
            self._taken.popleft()

    def _verdict(self, allowed: bool, now: float) -> Verdict:
        first = self._taken[0] if self._taken else now
        return Verdict(allowed, self._limit - len(self._taken), first + self._seconds)


class Bucket:
    """A bucket of `limit` tokens that refills evenly in `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._rate = limit, limit / seconds
        self._level, self._at = float(limit), 0.0

    def take(self, now: float) -> Verdict:
        level = self._refill(now)
        allowed = level >= 1
        self._level = level - allowed
        return self._verdict(allowed, now)

    def look(self, now: float) -> Verdict:
        self._refill(now)
        return self._verdict(self._level >= 1, now)

    def _refill(self, now: float) -> float:
        self._level = min(self._limit, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def _verdict(self, allowed: bool, now: float) -> Verdict:
        wanted = self._limit if allowed else 1
        return Verdict(allowed, int(self._level), now + (wanted - self._level) / self._rate)


def make_limiter(rule: RateLimit) -> Limiter:
    if rule.limit is None:
        return Unlimited()
    makers: dict[str, Callable[[int, float], Limiter]] = {
        "fixed": FixedWindow,
        "sliding": SlidingWindow,
        "bucket": Bucket,
    }
    return makers[rule.kind](rule.limit, rule.window_seconds)


def limit_headers(rule: RateLimit, verdict: Verdict, now: float, offset: float) -> dict[str, str]:
    """`X-RateLimit-Limit`, `-Remaining`, `-Reset` (epoch seconds of the provider's clock, rounded up)."""
    if not rule.headers or rule.limit is None:
        return {}
    headers = {
        "X-RateLimit-Limit": str(rule.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(math.ceil(verdict.reset_at + offset)),
    }
    return headers if verdict.allowed else headers | {"Retry-After": retry_after(verdict, now)}


def retry_after(verdict: Verdict, now: float) -> str:
    """Whole seconds until the next request may pass, at least 1."""
    return str(max(1, math.ceil(verdict.reset_at - now)))
