"""Whether a limit that was measured still is one: after many requests without a refusal a step is taken.

A measurement may be wrong, because others used the key in that window or the provider had a bad minute, and a
limit may be raised. So once as many requests have passed as make that worth a 429, the interval is halved for
as long as nothing is refused. The first refusal brings the proven interval back, and the next step is smaller
and later. The fewer requests a measurement rests on, the earlier it is doubted.
"""

from __future__ import annotations

from dataclasses import replace

from prefect_imagine.providers.limits.pace import Pace

WEAK = 20
"""Requests: a measurement that rests on fewer is doubted early,"""
SLOW = 1.0
"""if it is of so many seconds from one request to the next or more: where it is wrong, it costs hours."""
PATIENCE_OF_WEAK = 4
PATIENCE = 32
MOST_PATIENCE = 12_800
"""Requests that pass before a step: so many times those that the measurement rests on, four times as many
after each refused step."""
HOLDS = 2
"""A step is proven once so many times those have passed at the quicker pace."""
FIRST_STEP = 2.0
FEWEST = 4


def stepped(pace: Pace, now: float) -> Pace:
    """The pace after one more request has passed."""
    if pace.proven:
        if pace.passed < HOLDS * _evidence(pace):
            return pace
    elif pace.unrefused < _patience(pace):
        return pace
    easier = max(0, pace.refused_steps - 1) if pace.proven else pace.refused_steps
    return replace(
        pace,
        proven=pace.interval,
        interval=pace.interval / _step(easier),
        refused_steps=easier,
        began_at=now,
        passed=0,
    )


def begun(pace: Pace) -> Pace:
    """A new run goes on at a pace: a weak measurement is doubted once more soon, since time has passed."""
    soon = _patience(pace) - HOLDS * _evidence(pace)
    return replace(pace, unrefused=max(pace.unrefused, soon)) if _is_weak(pace) else pace


def step_wait(pace: Pace, now: float) -> float:
    """Seconds after a refused step until all that was sent since then is not more than the proven interval
    would have sent."""
    return max(0.0, (pace.passed + 1) * pace.proven - (now - pace.began_at))


def step_refused(pace: Pace) -> Pace:
    """The same after a refusal: the interval that was proven holds again."""
    return replace(pace, interval=pace.proven, proven=0.0, refused_steps=pace.refused_steps + 1, unrefused=0)


def _evidence(pace: Pace) -> int:
    return max(FEWEST, pace.evidence)


def _is_weak(pace: Pace) -> bool:
    return _evidence(pace) < WEAK and (pace.proven or pace.interval) >= SLOW


def _patience(pace: Pace) -> int:
    times = PATIENCE_OF_WEAK if _is_weak(pace) else PATIENCE
    return min(MOST_PATIENCE, times * _evidence(pace) << 2 * min(pace.refused_steps, 5))


def _step(refused: int) -> float:
    return 1 + (FIRST_STEP - 1) / 2.0 ** min(refused, 4)
