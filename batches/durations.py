"""Lengths of time in words."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
