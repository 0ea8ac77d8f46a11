"""What an answer's headers say of a rate limit, in the spellings that APIs use."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from prefect_imagine.clock import answered_at

CLOCKS_AGREE = 120.0
_LONGEST_SPAN = 1e8
"""Seconds: what is more is no time from now on but a moment since the epoch."""
_MILLISECONDS = 1e11


@dataclass(frozen=True)
class RateHeaders:
    """What an answer says about the limit; `None` where it says nothing.

    Attributes:
        reset_in: seconds until the window's reset.
        reset_named: the moment of the reset as the provider names it (epoch seconds).
        retry_after: seconds.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_in: float | None = None
    reset_named: float | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], wall_now: float) -> RateHeaders:
        """Read `X-RateLimit-*` or `RateLimit-*`, and `Retry-After`, measured against the answer's own time
        unless that is far from our clock: then against whichever makes sense."""
        date = answered_at(headers) or wall_now
        clocks = (date,) if abs(date - wall_now) < CLOCKS_AGREE else (date, wall_now)
        reset = _seconds(_told(headers, "reset"))
        moment = reset if reset is not None and reset > _LONGEST_SPAN else None
        return cls(
            limit=_whole(_told(headers, "limit")),
            remaining=_whole(_told(headers, "remaining")),
            reset_in=reset if moment is None else _until(moment, clocks),
            reset_named=moment,
            retry_after=_retry_after(headers.get("retry-after"), clocks),
        )


def _told(headers: Mapping[str, str], what: str) -> str | None:
    """`limit`, `remaining` or `reset` of a rate limit, in one of the headers that APIs use for it."""
    for name in (f"x-ratelimit-{what}", f"ratelimit-{what}", f"x-rate-limit-{what}"):
        if name in headers:
            return headers[name]
    found = re.search(rf"\b{what}=([\d.]+)", headers.get("ratelimit", ""))
    return found.group(1) if found else None


def _until(moment: float, clocks: Sequence[float]) -> float:
    """Seconds to a moment by the clocks that may be right: the shortest that is not in the past."""
    return min((moment - clock for clock in clocks if moment >= clock), default=0.0)


def _whole(value: str | None) -> int | None:
    try:
        return int(float(value)) if value is not None else None
    except (ValueError, OverflowError):
        return None


def _http_date(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (ValueError, TypeError):
        return None


def _retry_after(value: str | None, clocks: Sequence[float]) -> float | None:
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        moment = _http_date(value)
        return _until(moment, clocks) if moment is not None else None


def _seconds(value: str | None) -> float | None:
    """A reset in seconds, from now or since the epoch, however it is written."""
    try:
        number = float(value) if value is not None else None
    except ValueError:
        number = _iso_date(value or "")
    if number is None or not math.isfinite(number):
        return None
    return max(0.0, number / 1000 if number > _MILLISECONDS else number)


def _iso_date(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
