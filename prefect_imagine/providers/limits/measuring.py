"""The measure of a limit that no header tells: how many requests passed until it was met, and how long it
took until one passed again.

Nobody knows the limit at first, so few requests are under way at once: all of them are refused when it is
met. Then one goes out whenever a usual window may be over, and the first that passes measures the limit. From
then on requests are sent at the interval that was measured, which quickens a little once many have passed
without a refusal, in this run or in later ones that go on from there.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from prefect_imagine.providers.limits import stepping
from prefect_imagine.providers.limits.pace import Pace

FEW_AT_ONCE = 2
RAMP_ANSWERS = 64
RAMP_SECONDS = 10.0
"""One more request is under way with so many answers, or so many seconds, while no limit is known."""
USUAL_WINDOWS = (1.0, 5.0, 10.0, 60.0)
CLOCKED_WINDOWS = (10.0, 60.0)
"""Those of them that are waited for in full, in case they begin by the provider's clock."""
LONG_WINDOWS = (5.0, 10.0, 60.0)
"""Those of them that a wait tells that is told in whole seconds."""
ROUNDED_UP = 1.5
"""Seconds by which such a wait may be longer than it need be, with what is added to it."""
AFTER_OPENING = 0.25
SHORT_WAIT = 0.2
LONGEST_WAIT = 60.0
FIRST_WAIT = 1.0
SLOWEST = 30.0
FREE_BELOW = 0.02
"""Seconds between requests: a limit that allows more is none."""

SETTLED = 100
"""Requests that pass before a pace quickens: twice as many each time that the limit was met, up to 3,200."""
MOST_DOUBLINGS = 5
QUICKER = 5e-6
QUICKEST = 0.001
"""By how much of itself a pace quickens with each request that passes, and at most."""
WINDOW_PASSED = 60
"""Requests in a window, as a guess."""
FEW_PASSED = 20
DOUBTFUL = 8
"""Requests: a first measurement that rests on fewer is none."""
FAR_OFF = 1.5
CAUTION = 1.025
EXACT = 1.01
"""What a pace is slower than it was measured to have to be."""


@dataclass(frozen=True)
class Measured:
    """A limit as 429s have measured it.

    Attributes:
        interval: seconds between requests.
        met: how often the limit was met.
        unrefused: how many requests have passed since then.
        evidence: how many requests it rests on.
        refused_steps: how often a quicker pace was tried in vain.
    """

    interval: float
    met: int = 1
    unrefused: int = 0
    evidence: int = 60
    refused_steps: int = 0


def measured(pace: Pace) -> Measured | None:
    """What 429s have measured; `None` where no limit was met, or where headers tell it."""
    if pace.by_headers or not pace.met or not pace.interval:
        return None
    interval = pace.proven or pace.interval
    return Measured(interval, pace.met, pace.unrefused, pace.evidence, pace.refused_steps)


def begun_with(pace: Pace, known: Measured) -> Pace:
    """The same, going on from what was measured before, unless more is known by now."""
    if pace.by_headers or pace.interval or pace.met:
        return pace
    going_on = replace(
        pace,
        interval=known.interval,
        met=known.met,
        unrefused=known.unrefused,
        evidence=known.evidence,
        refused_steps=known.refused_steps,
    )
    return stepping.begun(going_on)


def at_once(pace: Pace, now: float) -> float:
    """How many requests may be under way while no limit is known."""
    return FEW_AT_ONCE + max(pace.unrefused // RAMP_ANSWERS, (now - pace.began_at) // RAMP_SECONDS)


def backoff(pace: Pace, now: float) -> float:
    """Seconds to wait after a 429 that tells none: few at first, then until a usual window may be over."""
    soon = max(SHORT_WAIT, 2 * pace.interval) if pace.interval else FIRST_WAIT
    if pace.proven and pace.freezes == 1:
        return min(LONGEST_WAIT, max(soon, stepping.step_wait(pace, now)))
    wait = soon * 2.0 ** min(pace.freezes - 1, 10) * random.uniform(0.8, 1.2)
    if _waits_for_windows(pace):
        opening = next((at for at in _openings(pace) if at > now), None)
        if opening is not None:
            wait = opening - now + AFTER_OPENING * random.uniform(1, 2)
    return min(LONGEST_WAIT, wait)


def _waits_for_windows(pace: Pace) -> bool:
    return pace.freezes > (2 if pace.interval else 1)


def _openings(pace: Pace) -> list[float]:
    """When requests may pass again: windows begin with the first request, or by the provider's clock."""
    burst = pace.refused_at - pace.began_at
    own = [pace.began_at + window for window in USUAL_WINDOWS]
    clocked = [pace.refused_at + window for window in CLOCKED_WINDOWS if window <= 2 * burst]
    return sorted(own + clocked)


def passed_again(pace: Pace, now: float) -> Pace:
    """The limit is measured: a request has passed for the first time since it was met."""
    if pace.proven:
        pace = stepping.step_refused(pace)
        return replace(pace, next_at=now + pace.interval, began_at=now, passed=0, met=pace.met + 1)
    interval = _span(pace, now) / max(1, pace.passed)
    if not pace.interval and not pace.met and pace.passed < DOUBTFUL and interval >= stepping.SLOW:
        # Others may have used up the window, or the provider has a bad minute: that is found out at once.
        return replace(pace, began_at=now, passed=0, met=1, unrefused=0)
    if pace.interval:
        interval = CAUTION * _corrected(pace, interval)
    interval = min(SLOWEST, max(FREE_BELOW, interval))
    return replace(
        pace,
        interval=interval,
        next_at=now + interval,
        began_at=now,
        evidence=max(pace.evidence if pace.interval else 0, pace.passed),
        passed=0,
        met=pace.met + 1,
        unrefused=0,
    )


def _span(pace: Pace, now: float) -> float:
    """Seconds in which the limit allows as many requests as have passed since they began."""
    refused, passed = pace.frozen_at - pace.began_at, now - pace.began_at
    if pace.wait_told and pace.freezes == 1:
        told = pace.frozen_until - pace.began_at
        windows = (window for window in LONG_WINDOWS if refused < window <= told <= window + ROUNDED_UP)
        return next((EXACT * window for window in windows), passed)
    if _waits_for_windows(pace):
        for window in USUAL_WINDOWS:
            if refused < window <= passed:
                return EXACT * window
    return math.sqrt(refused * passed)  # more than the one, less than the other


def _corrected(pace: Pace, interval: float) -> float:
    """The interval in view of the one before, which was measured too."""
    if pace.passed > FEW_PASSED and pace.freezes == 1:
        average = pace.interval * (1 + WINDOW_PASSED / 2 * _quickening(pace))
        # A wait that is told would have made place for the requests of a window.
        wait = max(0.0, pace.frozen_until - pace.frozen_at - ROUNDED_UP) if pace.wait_told else 0.0
        return average + wait / min(pace.passed, WINDOW_PASSED)
    if interval < FAR_OFF * pace.interval:
        # A few requests measure little: the interval before counts as some more of them.
        known = pace.passed / (pace.passed + FEW_PASSED)
        return known * interval + (1 - known) * pace.interval
    return interval


def quickened(pace: Pace, now: float) -> Pace:
    """The pace after one more request has passed."""
    if not pace.interval:
        return pace
    pace = stepping.stepped(pace, now)
    if pace.proven:
        return pace if pace.interval > FREE_BELOW else replace(pace, interval=0.0, proven=0.0)
    interval = pace.interval / (1 + _quickening(pace))
    return replace(pace, interval=interval if interval > FREE_BELOW else 0.0)


def _quickening(pace: Pace) -> float:
    settled = SETTLED << min(pace.met, MOST_DOUBLINGS)
    return min(QUICKEST, QUICKER * max(0, pace.unrefused - settled))
