"""Looking at parsed JSON: what it is, for readers and type checkers alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast


def as_object(value: Any) -> dict[str, Any] | None:
    """The value when it is an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """The value's elements when it is a list."""
    return [*cast("Sequence[Any]", value)] if isinstance(value, list) else None
