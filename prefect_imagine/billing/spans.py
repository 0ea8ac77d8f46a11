"""Stretches of time that may overlap, and how long they are together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta

Span = tuple[datetime, datetime]


class Spans:
    """The union of stretches of time: few, however many items made it."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._begins: list[datetime] = []
        self._ends: list[datetime] = []
        for begin, end in spans:
            self.add(begin, end)

    @property
    def all(self) -> tuple[Span, ...]:
        """The stretches, in order."""
        return tuple(zip(self._begins, self._ends, strict=True))

    def include(self, other: Spans) -> None:
        """Take all of another union in."""
        for begin, end in other.all:
            self.add(begin, end)

    def add(self, begin: datetime, end: datetime) -> None:
        """Take a stretch in; one that ends before it begins, by a clock that was set back, has no length."""
        end = max(begin, end)
        first = bisect_left(self._ends, begin)
        last = bisect_right(self._begins, end)
        if first < last:
            begin = min(begin, self._begins[first])
            end = max(end, self._ends[last - 1])
        self._begins[first:last] = [begin]
        self._ends[first:last] = [end]

    @property
    def seconds(self) -> float | None:
        """How long at least one of them lasted, to a tenth; `None` where there are none."""
        if not self._begins:
            return None
        lengths = (end - begin for begin, end in zip(self._begins, self._ends, strict=True))
        return round(sum(lengths, timedelta()).total_seconds(), 1)
