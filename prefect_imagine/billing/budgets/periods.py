"""The periods that a budget is counted by: days, weeks and months of a time zone, or one for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

PeriodKind = Literal["day", "week", "month", "total"]
"""Weeks begin on Monday, and are numbered as ISO 8601 has it."""


@dataclass(frozen=True)
class Period:
    """One period.

    Attributes:
        name: such as `2026-11-29`, `2026-W48`, `2026-11` or `total`; ascending in time.
        start: when it begins; `None` for `total`.
        end: when the next one begins; `None` for `total`.
    """

    name: str
    start: datetime | None = None
    end: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether a moment belongs to it."""
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)


TOTAL = Period("total")


def period_of(kind: PeriodKind, zone: tzinfo, at: datetime) -> Period:
    """The period that a moment belongs to."""
    day = at.astimezone(zone).date()
    match kind:
        case "day":
            return _between(day.isoformat(), day, day + timedelta(days=1), zone)
        case "week":
            monday = day - timedelta(days=day.weekday())
            return _between(f"{monday:%G-W%V}", monday, monday + timedelta(days=7), zone)
        case "month":
            first = day.replace(day=1)
            return _between(f"{first:%Y-%m}", first, (first + timedelta(days=31)).replace(day=1), zone)
        case "total":
            return TOTAL


def _between(name: str, first: date, after: date, zone: tzinfo) -> Period:
    return Period(name, _midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
