"""How long to wait before something is tried again."""

from __future__ import annotations

import random


def backoff(attempt: int, *, longest: float = 20.0) -> float:
    """Seconds to wait after the attempt-th failure (from 1): exponential, with full jitter."""
    return random.uniform(0.1, 1.0) * min(longest, 0.5 * 2.0**attempt)
