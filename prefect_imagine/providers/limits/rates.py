"""The arithmetic of staying inside a rate limit: pure functions over one small state.

With rate headers the state follows them: after a window's reset one probe reads `Remaining`, and what is
left is spread over the window. Without, a configured rate is kept by GCRA with a burst of one, and 429s
measure the limit. Of several machines that use a key each keeps to an equal part. Times are seconds on the
boot clock.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass, replace

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits import measuring
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.limits.pace import Pace

SETTLE_AFTER_RESET = 0.25
DRAIN_BEFORE_RESET = 1.5
ROUNDING = 1.5
PROBE_SECONDS = 20.0
FOR_AN_ANSWER = 0.5
"""Seconds until it is seen whether one has landed of which nobody told."""
LONGEST_FREEZE = 300.0
APART = 1.08
"""Of the distance at which a machine's part of a limit is used up."""
IDLE = 5.0
"""Seconds without a request that are no part of what measures a limit."""
HURRIED_AT_ONCE = 8
"""Requests under way where there is room for all: answers have to tell in time that others use the key."""
ROOM = 5
"""Requests that reads may need of a window before it ends."""


@dataclass(frozen=True)
class Rate:
    """At most `limit` requests in any `seconds`."""

    limit: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `60/10s`, `60/min` or `1000/1h`. Raises `ConfigurationError`."""
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*(s|sec|m|min|h)\s*", text)
        if match is None or int(match[1]) < 1 or (match[2] is not None and float(match[2]) <= 0):
            raise ConfigurationError(f"{text!r} is no rate: write requests/time, such as 60/10s or 60/min")
        unit = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}[match[3]]
        return cls(limit=int(match[1]), seconds=float(match[2] or 1) * unit)

    @property
    def interval(self) -> float:
        """Seconds between requests that no window of this length can object to."""
        return self.seconds / max(1, self.limit - 1)


def reserve(pace: Pace, now: float, *, demand: int = 0, flying: int = 0) -> tuple[Pace, float]:
    """Take the next permit, or learn how many seconds to wait before asking again.

    Args:
        demand: how many more permits the caller will want: what fits into the rest of the window with room
            to spare need not be spread over it.
        flying: how many requests the caller has under way.
    """
    if now < pace.frozen_until:
        return pace, pace.frozen_until - now
    if pace.probe_until > now:
        return pace, min(0.05, pace.probe_until - now)
    if not pace.answered:
        return _granted(replace(pace, probe_until=now + PROBE_SECONDS, in_flight=0), now), 0.0
    if pace.by_headers:
        return _drain(pace, now, demand, flying)
    if now < pace.next_at:
        return pace, pace.next_at - now
    if not pace.interval and flying >= measuring.at_once(pace, now):
        return pace, FOR_AN_ANSWER
    return _granted(replace(pace, next_at=max(now, pace.next_at) + pace.interval), now), 0.0


def _drain(pace: Pace, now: float, demand: int, flying: int) -> tuple[Pace, float]:
    # Never before the reset as it was reported first: `_follow` would take the new window for the old one.
    window_open = max(pace.reset_at, min(pace.window_reset, pace.reset_at + ROUNDING)) + SETTLE_AFTER_RESET
    apart = _apart(pace)
    if apart:
        window_open = max(window_open, pace.next_at)
    if now >= window_open:
        probing = replace(pace, probe_until=now + PROBE_SECONDS, in_flight=0, next_at=now + apart)
        return _granted(probing, now), 0.0
    if pace.free <= 0:
        return pace, window_open - now
    if now < pace.next_at:
        return pace, pace.next_at - now
    roomy = pace.free - pace.machines * demand > min(ROOM * pace.machines, pace.limit * 0.2)
    if roomy and flying >= HURRIED_AT_ONCE:
        return pace, FOR_AN_ANSWER
    # What is left is spread over the window.
    gap = pace.machines * max(0.0, pace.reset_at - DRAIN_BEFORE_RESET - now) / pace.free
    next_at = now + max(apart, 0.0 if roomy else gap)
    return _granted(replace(pace, left=pace.left - 1, next_at=next_at), now), 0.0


def _apart(pace: Pace) -> float:
    """Seconds from a request to the next where requests come free one by one, and several machines wait for
    each: then each takes the place of its own last one but as many as are its part."""
    trickles = pace.machines > 1 and 2 * pace.opened < pace.limit
    return APART * pace.machines * pace.window / pace.limit if trickles else 0.0


def _granted(pace: Pace, now: float) -> Pace:
    if not pace.freezes and now - pace.granted_at > max(IDLE, 3 * pace.interval):
        pace = replace(pace, began_at=now, passed=0)  # what was not asked for measures no limit
    return replace(pace, in_flight=pace.in_flight + 1, granted_at=now)


def answered(
    pace: Pace, now: float, headers: RateHeaders, *, created: bool = False, granted_at: float = math.inf
) -> Pace:
    """Learn from any answer that was not a 429.

    Args:
        created: whether it was a create's.
        granted_at: when its request was sent.
    """
    silent = headers.remaining is None and not pace.by_headers
    if pace.freezes and silent and granted_at <= pace.frozen_at:
        return replace(_landed(pace), passed=pace.passed + 1)  # it was sent before the limit was met
    unslowed = None if created else pace.unslowed
    if pace.freezes and not pace.by_headers:
        pace = measuring.passed_again(pace, now)
    pace = replace(
        _landed(pace),
        answered=True,
        probe_until=0.0,
        freezes=0,
        unslowed=unslowed,
        passed=pace.passed + 1,
        unrefused=pace.unrefused + 1,
    )
    if headers.remaining is not None and headers.reset_in is not None:
        return _follow(pace, now, headers)
    return pace if pace.by_headers else measuring.quickened(pace, now)


def _follow(pace: Pace, now: float, headers: RateHeaders) -> Pace:
    remaining, reset_at = headers.remaining or 0, now + (headers.reset_in or 0.0)
    left = remaining - pace.in_flight
    pace = replace(pace, window=max(pace.window, headers.reset_in or 0.0))
    if pace.by_headers and _is_same_window(pace, now, reset_at, headers.reset_named):
        return replace(pace, left=min(pace.left, left), reset_at=reset_at)
    pace = replace(
        pace,
        by_headers=True,
        limit=headers.limit or max(pace.limit, remaining + 1),
        left=left,
        opened=remaining,
        window_reset=reset_at,
        reset_named=headers.reset_named,
        reset_at=reset_at,
    )
    return pace if _apart(pace) else replace(pace, next_at=now)


def _is_same_window(pace: Pace, now: float, reset_at: float, named: float | None) -> bool:
    """Whether an answer speaks of the window that is known: by the reset's name where it has one, however
    late the answer is, else by its time. `Date` and the reset have whole seconds: until a window's reset may
    have come, it is that window."""
    if named is not None and named == pace.reset_named:
        return True
    return abs(reset_at - pace.window_reset) <= ROUNDING or now < pace.window_reset - ROUNDING


def refused(pace: Pace, now: float, headers: RateHeaders, granted_at: float) -> Pace:
    """Learn from a 429: everybody on the key is quiet until it is over. The 429s of requests that were
    under way when the first came are the same refusal and slow nothing further."""
    first = granted_at >= pace.frozen_at
    given = [wait for wait in (headers.retry_after, headers.reset_in) if wait is not None]
    if first:
        pace = replace(
            pace,
            refused_at=pace.refused_at if pace.freezes else now,
            frozen_at=now,
            freezes=pace.freezes + 1,
            wait_told=bool(given),
        )
    own = measuring.backoff(pace, now) if first else 0.0
    wait = min(LONGEST_FREEZE, max(given) + SETTLE_AFTER_RESET) if given else own
    if pace.freezes > 1:
        wait = max(wait, own)  # what was given was too short
    if first and (apart := _apart(pace)):
        # Others were told the same moment.
        wait = max(wait, apart * random.uniform(0.5, 1.5))
    pace = replace(
        _landed(pace),
        frozen_until=max(pace.frozen_until, now + wait),
        answered=False,
        probe_until=0.0,
    )
    if headers.remaining is not None and headers.reset_in is not None:
        return replace(_follow(pace, now, replace(headers, remaining=0)), left=0)
    if first and (not given or pace.freezes > 1) and not pace.by_headers:
        pace = replace(pace, unslowed=pace.interval if pace.unslowed is None else pace.unslowed)
    return pace


def without_backoff(pace: Pace, now: float) -> Pace:
    """Forget the 429s since the last create that passed: they were not about the rate."""
    return replace(
        pace,
        interval=pace.interval if pace.unslowed is None else pace.unslowed,
        unslowed=None,
        next_at=now,
        frozen_until=now,
        freezes=0,
        answered=True,
        probe_until=0.0,
    )


def lost(pace: Pace) -> Pace:
    """A permit was used but nothing came back, or it was not used after all."""
    landed = _landed(pace)
    return replace(landed, probe_until=pace.probe_until if landed.in_flight else 0.0)


def _landed(pace: Pace) -> Pace:
    return replace(pace, in_flight=max(0, pace.in_flight - 1))
