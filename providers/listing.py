"""Walking a list from its newest page on, and knowing whether its end was seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from prefect_imagine.providers import wire
from prefect_imagine.providers.models import Generation, HistoryPage

MOST_PAGES = 500
# No API's default page is smaller, so a shorter list that repeats itself is the whole list.
SMALLEST_PAGE = 10


@dataclass(frozen=True)
class Slice:
    """One page as it came. `total` and `more` are what the answer says of the rest, where it does."""

    rows: list[Generation]
    total: int | None = None
    more: bool | None = None


async def walk(read: Callable[[int, int], Awaitable[Slice]]) -> AsyncIterator[HistoryPage]:
    """Pages until the list ends. `read` is given the page's number and offset, both from 0.

    A server that ignores paging begins each page with the same row: the walk stops, and claims to have seen
    the end only where the list is shorter than any page. In a list that grows while it is walked, a page
    repeats the tail of the one before, or all of it if it has grown by just a page: that is walked over.
    """
    seen: set[str] = set()
    heads: set[str] = set()
    offset = 0
    repeated = False
    for number in range(MOST_PAGES):
        page = await read(number, offset)
        offset += len(page.rows)
        fresh = [row for row in _distinct(page.rows) if row.id not in seen]
        seen.update(row.id for row in fresh)
        repeats = not fresh and any(row.id in heads for row in page.rows[:1])
        heads.update(row.id for row in page.rows[:1])
        if repeats:
            end = len(seen) < SMALLEST_PAGE
        else:
            end = not page.rows or page.more is False or _completes(page, len(seen))
        yield wire.page_of(fresh, end=end)
        if end or (repeats and repeated):
            return
        repeated = repeats


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
