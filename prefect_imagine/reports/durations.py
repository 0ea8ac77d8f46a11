"""Lengths of time in words."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """Hours and minutes, below an hour minutes and seconds, and below a minute the seconds as they are."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:g} s"
