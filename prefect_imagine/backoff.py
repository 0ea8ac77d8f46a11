"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


def backoff(attempt: int, *, longest: float = 20.0) -> float:
    """Seconds to wait after the attempt-th failure (from 1): exponential, with full jitter."""
    return random.uniform(0.1, 1.0) * min(longest, 0.5 * 2.0**attempt)


@dataclass(frozen=True)
class Pauses:
    """How long the run of a batch pauses where nobody tells it when to go on, in seconds.

    Attributes:
        after_failure: the pause after the attempt-th failure in a row (from 1).
        between_looks: the shortest time from one look at jobs under way to the next, where requests are
            limited.
        between_signs: the time from one sign of life to the next, by which those who share a key know of each
            other.
        to_gather: how long a segment of a journal waits for more records: each costs the store a request.
        at_the_end: how long the end of a run waits for calls that are being made: S3's client alone may try
            for minutes.
    """

    after_failure: Callable[[int], float] = backoff
    between_looks: float = 2.0
    between_signs: float = 10.0
    to_gather: float = 0.01
    at_the_end: float = 3.0


PAUSES = Pauses()
"""Those that suit real providers and stores."""
