"""Looking at parsed JSON: what it is, for readers and type checkers alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit


def as_object(value: Any) -> dict[str, Any] | None:
    """The value when it is an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """The value's elements when it is a list."""
    return [*cast("Sequence[Any]", value)] if isinstance(value, list) else None


def is_url(value: Any, schemes: tuple[str, ...], optional: bool = False) -> bool:
    """Whether the value is an absolute address of one of these schemes; an optional one may be absent."""
    if value is None:
        return optional
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return parts is not None and parts.scheme in schemes and bool(parts.netloc)
