"""Walking a list: all of it, each row once, and never a false claim to have seen its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.providers.listing import Slice, count, walk
from prefect_imagine.providers.models import Generation, GenerationStatus, HistoryPage

from .properties import relaxed

Read = Callable[[int, int], Awaitable[Slice]]


def rows(numbers: range) -> list[Generation]:
    return [Generation(provider="x", id=str(number), status=GenerationStatus.RUNNING) for number in numbers]


def by_offset(length: int, size: int, *, told: str = "nothing") -> Read:
    """A server that pages by rows, and tells of the rest in one of several ways."""

    async def read(number: int, offset: int) -> Slice:
        page = rows(range(offset, min(length, offset + size)))
        total = {"total": length, "page length": len(page)}.get(told)
        return Slice(page, total, offset + size < length if told == "more" else None)

    return read


def ignoring_paging(length: int, told: int | None = None) -> Read:
    """A server that always shows its newest rows."""

    async def read(number: int, offset: int) -> Slice:
        return Slice(rows(range(length)), told)

    return read


async def walked(read: Read) -> tuple[list[HistoryPage], list[str]]:
    pages = [page async for page in walk(read)]
    return pages, [row.id for page in pages for row in page.generations]


@relaxed
@given(
    length=st.integers(0, 250),
    size=st.integers(10, 100),
    told=st.sampled_from(["nothing", "total", "page length", "more"]),
)
async def test_every_row_is_seen_once_and_then_the_end(length: int, size: int, told: str) -> None:
    pages, seen = await walked(by_offset(length, size, told=told))
    assert seen == [str(number) for number in range(length)]
    assert [page.end for page in pages] == [False] * (len(pages) - 1) + [True]


@relaxed
@given(length=st.integers(10, 100), told=st.sampled_from([None, "page length"]))
async def test_a_server_that_ignores_paging_proves_nothing(length: int, told: str | None) -> None:
    pages, seen = await walked(ignoring_paging(length, length if told else None))
    assert len(seen) == length
    assert not any(page.end for page in pages)
    assert len(pages) == 3


@pytest.mark.parametrize("length", range(1, 10))
async def test_less_than_a_page_is_the_whole_list(length: int) -> None:
    pages, seen = await walked(ignoring_paging(length))
    assert (len(seen), pages[-1].end) == (length, True)


@pytest.mark.parametrize("told", [0, 3, 19])
async def test_a_total_below_what_is_shown_is_not_believed(told: int) -> None:
    pages, _ = await walked(ignoring_paging(20, told))
    assert not any(page.end for page in pages)


async def test_rows_that_move_between_pages_are_seen_once() -> None:
    async def read(number: int, offset: int) -> Slice:
        """Five new jobs come in after the first page, and push the others on."""
        shift = 5 if number else 0
        return Slice(rows(range(max(0, offset - shift), min(40, offset - shift + 20))))

    _, seen = await walked(read)
    assert seen == [str(number) for number in range(40)]


async def test_a_row_that_is_shown_twice_is_one_job_and_the_newer_record_counts() -> None:
    ended = Generation(provider="x", id="1", status=GenerationStatus.SUCCEEDED)
    stale, other = rows(range(1, 3))

    async def read(number: int, offset: int) -> Slice:
        return Slice([other, ended, stale, other] if number == 0 else [], None)

    _, seen = await walked(read)
    assert seen == ["2", "1"]
    [page, *_] = [page async for page in walk(read)]
    assert [row.status for row in page.generations if row.id == "1"] == [GenerationStatus.SUCCEEDED]


@pytest.mark.parametrize("told", ["nothing", "total"])
async def test_the_end_of_a_list_that_grows_meanwhile_is_seen(told: str) -> None:
    """Three newer rows come between two pages: the second page holds but the first one's tail."""

    async def read(number: int, offset: int) -> Slice:
        shown = rows(range(0 if number == 0 else -3, 50))
        return Slice(shown[offset : offset + 100], len(shown) if told == "total" else None)

    pages, seen = await walked(read)
    assert pages[-1].end
    assert len(seen) == 50


@pytest.mark.parametrize("grown_before", [1, 2, 3])
async def test_a_list_that_grows_by_just_a_page_is_walked_on(grown_before: int) -> None:
    async def read(number: int, offset: int) -> Slice:
        shown = rows(range(-20 if number >= grown_before else 0, 100))
        return Slice(shown[offset : offset + 20])

    pages, seen = await walked(read)
    assert pages[-1].end
    assert seen == [str(number) for number in range(100)]


@relaxed
@given(length=st.integers(0, 250), size=st.integers(10, 100), growth=st.integers(1, 5))
async def test_the_end_of_a_list_that_grows_with_each_page_is_seen(
    length: int, size: int, growth: int
) -> None:
    async def read(number: int, offset: int) -> Slice:
        shown = rows(range(-growth * number, length))
        return Slice(shown[offset : offset + size])

    pages, seen = await walked(read)
    assert pages[-1].end
    assert {str(number) for number in range(length)} <= set(seen)
    assert len(pages) <= 2 * (length // size) + 5


@relaxed
@given(length=st.integers(20, 100), growth=st.integers(1, 5))
async def test_a_server_that_ignores_paging_and_gets_new_jobs_proves_nothing(
    length: int, growth: int
) -> None:
    async def read(number: int, offset: int) -> Slice:
        return Slice(rows(range(-growth * number, length))[:length])

    pages, _ = await walked(read)
    assert not any(page.end for page in pages)
    assert len(pages) <= 5


async def test_pages_by_number_are_asked_for_in_order() -> None:
    asked: list[int] = []

    async def read(number: int, offset: int) -> Slice:
        asked.append(number)
        return Slice(rows(range(number * 20, number * 20 + 20 if number < 3 else number * 20)))

    await walked(read)
    assert asked == [0, 1, 2, 3]


async def test_a_list_without_an_end_is_given_up_without_a_claim() -> None:
    pages, _ = await walked(by_offset(10**9, 10))
    assert len(pages) == 500
    assert not any(page.end for page in pages)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (7, 7), (-1, None), (True, None), ("7", None), (None, None), (7.0, None)]
)
def test_counts(value: object, expected: int | None) -> None:
    assert count(value) == expected


async def test_a_page_without_rows_that_has_more_behind_it_is_no_end() -> None:
    pages = [Slice(rows(range(3)), more=True), Slice([], more=True), Slice(rows(range(3, 5)), more=False)]

    async def read(number: int, offset: int) -> Slice:
        return pages[number]

    found, seen = await walked(read)
    assert seen == ["0", "1", "2", "3", "4"]
    assert [page.end for page in found] == [False, False, True]


async def test_a_server_that_promises_more_for_ever_is_left_without_an_end() -> None:
    async def read(number: int, offset: int) -> Slice:
        return Slice([], more=True)

    found, _ = await walked(read)
    assert [page.end for page in found] == [False, False]
