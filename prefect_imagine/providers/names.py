"""What a misspelt name may be meant for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The names that come closest, or all of them where they are few."""
    names = list(known)
    if not names:
        return "there is none to choose from"
    close = close_names(name, names)
    return f"did you mean {', '.join(close)}?" if close else f"allowed: {', '.join(names[:12])}"


def close_names(name: str, known: Iterable[str], *, alike: float = 0.4) -> list[str]:
    """The at most three names that come closest, of those that are alike enough (of 0 to 1)."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=alike)
