"""Slices of a long list: every row has its turn, and a repeated run the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.prompts.rotation import Rotation, rotated
from prefect_imagine.prompts.templates import fill_id

TWO = datetime(2026, 3, 20, 2, 0, tzinfo=ZoneInfo("Europe/Berlin"))


@given(count=st.integers(1, 40), take=st.integers(1, 50), days=st.integers(2, 60))
def test_each_night_goes_on_where_the_one_before_ended(count: int, take: int, days: int) -> None:
    rotation = Rotation(take=take)
    nights = [rotation.rows(count, TWO + timedelta(days=day)) for day in range(days)]
    assert all(len(rows) == min(take, count) == len(set(rows)) for rows in nights)
    for before, after in pairwise(nights):
        assert after[0] == (before[0] + take) % count
    turns = Counter(row for rows in nights for row in rows)
    if take <= count:
        assert max(turns.values()) - min(turns[row] for row in range(count)) <= 1


@pytest.mark.parametrize("minutes", [0, 1, 59, 21 * 60])
def test_a_late_run_takes_the_rows_of_its_day(minutes: int) -> None:
    rotation = Rotation(take=2)
    assert rotation.rows(9, TWO + timedelta(minutes=minutes)) == rotation.rows(9, TWO)


def test_days_begin_at_local_midnight_and_survive_the_change_of_clocks() -> None:
    rotation = Rotation(take=1)
    nights = [datetime(2026, 3, day, 0, 30, tzinfo=ZoneInfo("Europe/Berlin")) for day in range(27, 32)]
    assert [rotation.rows(100, night)[0] for night in nights] == [
        rotation.rows(100, nights[0])[0] + step for step in range(5)
    ]


def test_a_row_with_a_count_is_one_row() -> None:
    rows: list[tuple[int, Mapping[str, Any]]] = [(1, {"prompt": "one", "count": 3}), (2, {"prompt": "two"})]
    asked = ask(rows, Defaults("imaginelab"), {})
    both = [rotated(asked, Rotation(take=1), TWO + timedelta(days=day)) for day in range(2)]
    assert sorted([len(each) for each in both]) == [1, 3]
    assert rotated(asked, None, TWO) == asked


def test_a_batch_id_may_name_the_day() -> None:
    assert fill_id("nightly-{date}", TWO) == "nightly-2026-03-20"
    with pytest.raises(ConfigurationError, match=r"\{time\} has no value"):
        fill_id("nightly-{time}", TWO)
