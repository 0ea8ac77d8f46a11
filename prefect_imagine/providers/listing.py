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
    repeats the tail of the one before, or all of it if it has grown by just a page: that is walked over.
    """
    seen: set[str] = set()
    heads: set[str] = set()
    offset = 0
    stalled = False
    for number in range(MOST_PAGES):
        page = await read(number, offset)
        offset += len(page.rows)
        fresh = [row for row in _distinct(page.rows) if row.id not in seen]
        seen.update(row.id for row in fresh)
        # A filter of the server's own may leave a page without rows, and more behind it.
        skipped = not page.rows and page.more is True
        repeats = not fresh and any(row.id in heads for row in page.rows[:1])
        heads.update(row.id for row in page.rows[:1])
        if repeats:
            end = len(seen) < SMALLEST_PAGE
        else:
            end = (not page.rows and not skipped) or page.more is False or _completes(page, len(seen))
        yield wire.page_of(fresh, end=end)
        if end or (stalled and (repeats or skipped)):
            return
        stalled = repeats or skipped


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
