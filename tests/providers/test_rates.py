"""The arithmetic of rate limits, step by step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits import measuring, rates
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.rates import Rate

from .properties import relaxed

NOW = 1000.0
WALL = 1_750_000_000.0
SILENT = RateHeaders()


def known(remaining: int, reset_in: float, limit: int = 60) -> Pace:
    """A pace that has learned from one answer."""
    first, _ = rates.reserve(Pace(), NOW)
    return rates.answered(first, NOW, RateHeaders(limit=limit, remaining=remaining, reset_in=reset_in))


def granted(pace: Pace, times: list[float], demand: int = 0) -> tuple[Pace, int]:
    """How many permits asking at these times gives."""
    number = 0
    for time in times:
        pace, wait = rates.reserve(pace, time, demand=demand)
        number += wait <= 0
    return pace, number


@pytest.mark.parametrize(
    ("text", "limit", "seconds"),
    [
        ("60/10s", 60, 10),
        ("60/min", 60, 60),
        ("1000/1h", 1000, 3600),
        (" 5 / 0.5 sec ", 5, 0.5),
        ("1/m", 1, 60),
    ],
)
def test_rates_are_read(text: str, limit: int, seconds: float) -> None:
    assert Rate.parse(text) == Rate(limit, seconds)


@pytest.mark.parametrize("text", ["", "60", "0/s", "60/0s", "-1/s", "60/day", "1.5/s", "60/s/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no rate"):
        Rate.parse(text)


@pytest.mark.parametrize("reset", [f"{WALL + 30:.0f}", f"{(WALL + 30) * 1000:.0f}", "30", "30.0"])
@pytest.mark.parametrize("date", [formatdate(WALL, usegmt=True), None])
def test_a_reset_in_any_notation(reset: str, date: str | None) -> None:
    headers = {"x-ratelimit-reset": reset} | ({"date": date} if date else {})
    assert RateHeaders.of(headers, WALL).reset_in == 30


def test_a_reset_is_measured_by_the_answer_s_own_clock() -> None:
    headers = {"x-ratelimit-reset": f"{WALL + 30:.0f}", "date": formatdate(WALL, usegmt=True)}
    assert RateHeaders.of(headers, WALL + 9999).reset_in == 30


@pytest.mark.parametrize("hours", [-3, 3])
@pytest.mark.parametrize("reset", [f"{WALL + 30:.0f}", datetime.fromtimestamp(WALL + 30, UTC).isoformat()])
def test_a_date_that_is_hours_off_does_not_move_the_reset(reset: str, hours: int) -> None:
    headers = {"x-ratelimit-reset": reset, "date": formatdate(WALL + 3600 * hours, usegmt=True)}
    assert RateHeaders.of(headers, WALL).reset_in == 30


@pytest.mark.parametrize(
    "headers",
    [
        {"ratelimit-limit": "60", "ratelimit-remaining": "7", "ratelimit-reset": "30"},
        {"x-rate-limit-limit": "60", "x-rate-limit-remaining": "7", "x-rate-limit-reset": "30"},
        {"ratelimit": "limit=60, remaining=7, reset=30"},
    ],
)
def test_limits_in_the_other_headers_that_apis_use(headers: dict[str, str]) -> None:
    assert RateHeaders.of(headers, WALL) == RateHeaders(limit=60, remaining=7, reset_in=30)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0.5", 0.5), ("-3", 0), (formatdate(WALL + 9, usegmt=True), 9), ("soon", None), ("", None)],
)
def test_retry_after_in_any_notation(value: str, seconds: float | None) -> None:
    assert RateHeaders.of({"retry-after": value}, WALL).retry_after == seconds


@pytest.mark.parametrize("value", ["", "many", "inf", "nan", "1e999"])
def test_headers_that_cannot_be_read_say_nothing(value: str) -> None:
    told = RateHeaders.of({"x-ratelimit-limit": value, "x-ratelimit-remaining": value}, WALL)
    assert (told.limit, told.remaining) == (None, None)


def test_the_first_request_of_all_goes_alone() -> None:
    pace, number = granted(Pace(), [NOW, NOW, NOW + 1])
    assert number == 1
    assert granted(rates.answered(pace, NOW + 1, SILENT), [NOW + 1] * 50)[1] == 50


def test_a_probe_that_is_lost_lets_another_go() -> None:
    pace, _ = rates.reserve(Pace(), NOW)
    assert granted(rates.lost(pace), [NOW])[1] == 1
    assert granted(pace, [NOW + rates.PROBE_SECONDS + 0.1])[1] == 1


@relaxed
@given(
    remaining=st.integers(0, 200),
    reset_in=st.floats(0.5, 100),
    offsets=st.lists(st.floats(0, 1), max_size=300),
    demand=st.integers(0, 300),
)
def test_the_drain_never_exceeds_what_remains(
    remaining: int, reset_in: float, offsets: list[float], demand: int
) -> None:
    times = sorted(NOW + offset * reset_in for offset in offsets)
    assert granted(known(remaining, reset_in), times, demand)[1] <= remaining


@relaxed
@given(flying=st.integers(0, 50), remaining=st.integers(0, 50))
def test_what_flies_already_is_taken_off_what_remains(flying: int, remaining: int) -> None:
    pace, _ = granted(rates.answered(Pace(), NOW, SILENT), [NOW] * flying)
    pace = rates.answered(
        replace(pace, in_flight=pace.in_flight + 1), NOW, RateHeaders(60, remaining, reset_in=60)
    )
    more = granted(pace, [NOW + 0.1 * tick for tick in range(580)])[1]
    assert more <= max(0, remaining - flying)


def test_what_remains_is_spread_over_the_window() -> None:
    pace = known(30, 60)
    assert granted(pace, [NOW + 5] * 10, demand=60)[1] == 1
    assert granted(pace, [NOW + 0.5 * tick for tick in range(116)], demand=60)[1] == 30


def test_what_fits_with_room_to_spare_need_not_be_spread() -> None:
    assert granted(known(59, 60), [NOW] * 10, demand=20)[1] == 10


def test_one_probe_after_the_reset() -> None:
    pace = known(0, 10)
    assert granted(pace, [NOW + 10 + rates.SETTLE_AFTER_RESET / 2])[1] == 0
    after = NOW + 10 + rates.SETTLE_AFTER_RESET
    pace, number = granted(pace, [after, after, after + 1])
    assert number == 1
    pace = rates.answered(pace, after + 1, RateHeaders(limit=60, remaining=59, reset_in=60))
    assert granted(pace, [after + 1] * 100, demand=0)[1] <= 59


@relaxed
@given(remainings=st.lists(st.integers(0, 60), min_size=1, max_size=30))
def test_answers_out_of_order_do_not_add_permits(remainings: list[int]) -> None:
    pace = known(remainings[0], 60)
    for remaining in remainings[1:]:
        told = RateHeaders(limit=60, remaining=remaining, reset_in=60)
        pace = rates.answered(replace(pace, in_flight=1), NOW, told)
    assert pace.left <= min(remainings)


def test_a_429_quietens_everybody_until_the_reset() -> None:
    told = RateHeaders(limit=60, remaining=0, reset_in=20)
    pace = rates.refused(known(30, 60), NOW, told, granted_at=NOW)
    assert granted(pace, [NOW, NOW + 10, NOW + 19.9])[1] == 0
    assert granted(pace, [NOW + 20 + rates.SETTLE_AFTER_RESET] * 3)[1] == 1


def test_a_429_is_obeyed_for_as_long_as_it_says() -> None:
    pace = rates.refused(known(30, 60), NOW, RateHeaders(retry_after=7), granted_at=NOW)
    assert granted(pace, [NOW + 6.9])[1] == 0
    assert granted(pace, [NOW + 7 + rates.SETTLE_AFTER_RESET])[1] == 1


def test_the_429s_of_requests_under_way_are_one_refusal() -> None:
    pace, _ = granted(rates.answered(Pace(), NOW, SILENT), [NOW] * 10)
    first = rates.refused(pace, NOW + 1, SILENT, granted_at=NOW)
    all_of_them = first
    for _ in range(9):
        all_of_them = rates.refused(all_of_them, NOW + 1.1, SILENT, granted_at=NOW)
    assert (all_of_them.freezes, all_of_them.frozen_until) == (1, first.frozen_until)
    assert all_of_them.interval == first.interval


def test_refusals_one_after_the_other_quieten_longer() -> None:
    pace, waits, now = Pace(), [], NOW
    for _ in range(4):
        pace, _ = rates.reserve(pace, now)
        pace = rates.refused(pace, now, SILENT, granted_at=now)
        waits.append(pace.frozen_until - now)
        now = pace.frozen_until
    assert waits[0] < waits[2] < waits[3]
    assert waits[-1] <= measuring.LONGEST_WAIT


@pytest.mark.parametrize("told", [RateHeaders(retry_after=0), RateHeaders(remaining=0, reset_in=0)])
def test_what_was_told_too_short_is_not_believed_again(told: RateHeaders) -> None:
    pace, waits, now = Pace(), [], NOW
    for _ in range(5):
        pace, _ = rates.reserve(pace, now)
        pace = rates.refused(pace, now, told, granted_at=now)
        waits.append(pace.frozen_until - now)
        now = pace.frozen_until
    assert waits[0] < 1
    assert waits[-1] > 8


def test_no_refusal_quietens_for_ever() -> None:
    pace = rates.refused(Pace(), NOW, RateHeaders(retry_after=1e9), granted_at=NOW)
    assert pace.frozen_until <= NOW + rates.LONGEST_FREEZE


@relaxed
@given(limit=st.integers(2, 50), seconds=st.floats(1, 60), ticks=st.integers(10, 400))
def test_a_configured_rate_holds_in_every_window(limit: int, seconds: float, ticks: int) -> None:
    rate = Rate(limit, seconds)
    pace = replace(rates.answered(Pace(), NOW, SILENT), interval=rate.interval)
    sent: list[float] = []
    for tick in range(ticks):
        now = NOW + tick * rate.interval / 3
        pace, wait = rates.reserve(pace, now)
        if wait <= 0:
            sent.append(now)
    for start in sent:
        assert sum(start <= time < start + seconds for time in sent) <= limit


def test_a_429_without_headers_slows_down_and_success_speeds_up_again() -> None:
    pace = Pace()
    for tick in range(100):
        pace, _ = rates.reserve(pace, NOW + tick / 10)
        pace = rates.answered(pace, NOW + tick / 10, SILENT, granted_at=NOW + tick / 10)
    refused = rates.refused(pace, NOW + 10, SILENT, granted_at=NOW + 10)
    # One that was sent before the limit was met says nothing of when it is over.
    late = rates.answered(refused, NOW + 11, SILENT, granted_at=NOW + 9)
    assert (late.interval, late.freezes, late.passed) == (0.0, 1, 101)
    again, wait = rates.reserve(late, NOW + 60)
    assert wait == 0.0
    pace = rates.answered(again, NOW + 60, SILENT, granted_at=NOW + 60)
    assert 10 / 101 < pace.interval < 60 / 101
    assert rates.reserve(pace, NOW + 60)[1] == pytest.approx(pace.interval, rel=0.01)
    later = NOW + 60
    for number in range(2000):
        pace, _ = rates.reserve(pace, later + number)
        quickened = rates.answered(pace, later + number, SILENT)
        assert quickened.interval <= pace.interval
        pace = quickened
    assert pace.interval < 0.5 * 30 / 101


def test_headers_beat_what_was_inferred() -> None:
    slowed = rates.refused(Pace(), NOW, SILENT, granted_at=NOW)
    pace = rates.answered(slowed, NOW + 60, RateHeaders(limit=60, remaining=59, reset_in=60))
    assert pace.by_headers
    assert granted(pace, [NOW + 60] * 5)[1] == 5


def test_a_429_that_was_not_about_the_rate_is_forgiven() -> None:
    """Reads that pass in between do not make its slowness the usual pace."""
    usual = replace(rates.answered(Pace(), NOW, SILENT), interval=0.5)
    slowed = rates.refused(usual, NOW, SILENT, NOW)
    slowed = rates.answered(replace(slowed, passed=1, began_at=NOW - 9), NOW + 2, SILENT)
    slowed = rates.refused(slowed, NOW + 3, SILENT, NOW + 3)
    assert slowed.interval > 0.5
    forgiven = rates.without_backoff(slowed, NOW + 3)
    assert forgiven.interval == 0.5
    assert rates.reserve(forgiven, NOW + 3)[1] == 0.0


def test_a_create_that_passes_confirms_the_slower_pace() -> None:
    slowed = rates.refused(replace(Pace(), answered=True, passed=20), NOW, SILENT, NOW)
    confirmed = rates.answered(slowed, NOW + 2, SILENT, created=True)
    assert rates.without_backoff(confirmed, NOW + 3).interval == confirmed.interval > 0


def test_a_reset_that_was_told_too_early_by_rounding_costs_no_window() -> None:
    """The same reset, told once as 10.9 s away and once as 10.1 s: the window after it is a new one."""
    pace = known(remaining=1, reset_in=10.9)
    pace, _ = rates.reserve(pace, NOW)
    pace = rates.answered(pace, NOW, RateHeaders(limit=60, remaining=0, reset_in=10.1))
    wait = rates.reserve(pace, NOW + 10.4)[1]
    opened = NOW + 10.4 + wait
    pace, _ = rates.reserve(pace, opened)
    pace = rates.answered(pace, opened, RateHeaders(limit=60, remaining=59, reset_in=10.0))
    assert pace.left == 59


def test_a_request_that_opens_the_next_window_unknowingly_costs_none() -> None:
    """The reset was told as a little later than it is: the last permit falls into the window after it."""
    pace = known(remaining=2, reset_in=10.0)
    pace, _ = rates.reserve(pace, NOW)
    pace = rates.answered(pace, NOW + 9.5, RateHeaders(limit=60, remaining=59, reset_in=10.0))
    assert pace.left == 59
