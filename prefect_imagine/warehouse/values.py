"""What every database can hold of texts and numbers that others have written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

LARGEST_INTEGER = 2**63
LARGEST_AMOUNT = Decimal(10) ** 20
"""What no column of credits can hold."""
NUL = "\u2400"
"""Stands for a zero byte, which PostgreSQL refuses: two texts stay two."""


def storable(value: Any) -> Any:
    """The same as databases hold it: a larger integer as text, a moment outside the calendar as none."""
    if isinstance(value, str):
        return None if _is_no_moment(value) else value.replace("\0", NUL)
    if isinstance(value, Mapping):
        return {str(name).replace("\0", NUL): storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    if isinstance(value, int) and not -LARGEST_INTEGER <= value < LARGEST_INTEGER:
        return str(value)
    return value


def _is_no_moment(text: str) -> bool:
    """Whether a text is a moment that UTC has no name for, such as one at the calendar's begin."""
    if not text.startswith(("0001-01-01", "9999-12-31")):
        return False
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        return True
    except ValueError:
        return False
    return False


def in_utc(at: datetime | None) -> datetime | None:
    """A moment that databases can hold; `None` for one outside their calendar."""
    try:
        return None if at is None else at.astimezone(UTC)
    except OverflowError:
        return None


def exact(credits: int | float | Decimal | None) -> Decimal | None:
    """Credits as an exact decimal; `None` where there are none, or more than anybody can have."""
    amount = None if credits is None else Decimal(str(credits))
    return None if amount is None or not abs(amount) < LARGEST_AMOUNT else amount
