"""What the rate limit alone allows."""

from __future__ import annotations

import math


def bound_seconds(generations: int, limit: int, window_seconds: float, slowest: float) -> float:
    """As many full windows as the creates alone need, then the slowest job."""
    return math.ceil(generations / limit) * window_seconds + slowest
