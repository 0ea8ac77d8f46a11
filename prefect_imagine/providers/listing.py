"""Walking a list from its newest page on, and knowing whether its end was seen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prefect_imagine.errors import InvalidRequestError
from prefect_imagine.providers import wire
from prefect_imagine.providers.models import Generation, HistoryPage

MOST_PAGES = 500
# No API's default page is smaller, so a shorter list that repeats itself is the whole list.
SMALLEST_PAGE = 10


LARGEST_PAGE = 100
ENDS_AGAIN = 2
"""Pages that end with the row known as the last, after which a list that grows is taken to end there."""
MOST_IDLE = 3
"""Pages in a row that lead no further: the list is left without a claim to have seen its end."""
SMALLER_PAGES = (50, 25, 20, SMALLEST_PAGE)
_ABOUT_SIZE = re.compile(r"\b(limit|page|size|less than|at most|maximum|greater than)\b", re.IGNORECASE)
T = TypeVar("T")


class PageSize:
    """How many rows a server gives at once: a hundred, or what it says that it takes."""

    def __init__(self) -> None:
        self.rows = LARGEST_PAGE

    async def ask(self, read: Callable[[int], Awaitable[T]]) -> T:
        """Read with a limit that the server takes, and remember it. Raises what reading raises."""
        while True:
            try:
                return await read(self.rows)
            except InvalidRequestError as error:
                smaller = _smaller(self.rows, str(error))
                if smaller is None:
                    raise
                self.rows = smaller


def _smaller(rows: int, message: str) -> int | None:
    """The next page size to try after a refusal; `None` where that was about something else."""
    if not _ABOUT_SIZE.search(message):
        return None
    named = [number for number in map(int, re.findall(r"\b\d{1,9}\b", message)) if 0 < number < rows]
    return max(named, default=next((each for each in SMALLER_PAGES if each < rows), None))


@dataclass(frozen=True)
class Slice:
    """One page as it came. `total` and `more` are what the answer says of the rest, where it does."""

    rows: list[Generation]
    total: int | None = None
    more: bool | None = None


ReadSlice = Callable[[int, int], Awaitable[Slice]]
"""Reads a page of a list by its number and its offset, both from 0."""


def by_offset(
    provider: str,
    ask: Callable[[Mapping[str, int]], Awaitable[Any]],
    envelopes: Sequence[str],
    parse: Callable[[wire.Record], Generation],
    size: PageSize,
) -> ReadSlice:
    """Reads a list that takes `limit` and `offset`, bare or in one of these envelopes.

    Args:
        ask: reads the list with these parameters.
    """

    async def read(number: int, offset: int) -> Slice:
        body = await size.ask(lambda limit: ask({"limit": limit, "offset": offset}))
        records = wire.records_of(provider, body, *envelopes)
        total = count(wire.first(wire.beside_list(body, *envelopes), "total", "count"))
        return Slice([parse(record) for record in records], total)

    return read


async def walk(read: ReadSlice) -> AsyncIterator[HistoryPage]:
    """Pages until the list ends.

    A server that ignores paging begins each page with the same row: the walk stops, and claims to have seen
    the end only where the list is shorter than any page. In a list that grows while it is walked, a page
    repeats the tail of the one before, or all of it if it has grown by just a page: that is walked over. One
    that grows with each page has no empty page behind its last row: it ends where pages, not as long as
    others, end with that row again and again.
    """
    walked = _Walked()
    offset = stalled = 0
    for number in range(MOST_PAGES):
        page = await read(number, offset)
        offset += len(page.rows)
        fresh, repeats = walked.take(page.rows)
        # A filter of the server's own may leave a page without rows, and more behind it.
        skipped = not page.rows and page.more is True
        ends_again = walked.ends_again >= ENDS_AGAIN and page.more is not True
        if repeats:
            end = len(walked.seen) < SMALLEST_PAGE
        else:
            empty = not page.rows and not skipped
            end = empty or ends_again or page.more is False or _completes(page, len(walked.seen))
        yield wire.page_of(fresh, end=end)
        stalled = stalled + 1 if repeats or skipped else 0
        if end or stalled > 1 or walked.idle > MOST_IDLE:
            return


class _Walked:
    """What was seen of a list.

    Attributes:
        seen: the ids of its rows.
        ends_again: how many pages in a row, not as long as others, have shown nothing but the last rows that
            are known.
        idle: how many pages in a row have ended with a row that was known.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.ends_again = 0
        self.idle = 0
        self._heads: set[str] = set()
        self._last: str | None = None
        self._longest = 0

    def take(self, rows: list[Generation]) -> tuple[list[Generation], bool]:
        """Take a page in; gives its rows that are new, and whether it is one that was given before."""
        fresh = [row for row in _distinct(rows) if row.id not in self.seen]
        goes_on = bool(rows) and rows[-1].id not in self.seen
        ends = bool(rows) and not fresh and rows[-1].id == self._last and len(rows) < self._longest
        repeats = not fresh and not ends and any(row.id in self._heads for row in rows[:1])
        self.ends_again = self.ends_again + 1 if ends else 0
        self.idle = 0 if goes_on else self.idle + 1
        self._last = rows[-1].id if goes_on else self._last
        self._longest = max(self._longest, len(rows))
        self._heads.update(row.id for row in rows[:1])
        self.seen.update(row.id for row in fresh)
        return fresh, repeats


def _distinct(rows: list[Generation]) -> list[Generation]:
    """Each job once: of two records of one that which has ended is the newer."""
    known: dict[str, Generation] = {}
    for row in rows:
        if row.id not in known or (row.status.terminal and not known[row.id].status.terminal):
            known[row.id] = row
    return list(known.values())


def _completes(page: Slice, seen: int) -> bool:
    """Whether `total` says that all were seen. What equals the page's length may count that page only."""
    if page.total is None or seen < page.total:
        return False
    return page.total > len(page.rows) or page.total == len(page.rows) < SMALLEST_PAGE


def count(value: object) -> int | None:
    """A count as the wire gives it, or `None` if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
