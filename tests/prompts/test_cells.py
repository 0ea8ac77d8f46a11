"""Settings as cells of a prompts file: what the reader makes of them is what they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.prompts.cells import setting_cells
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.providers.models import COMMON_SETTINGS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALAR = st.one_of(TEXT, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
VALUE = st.recursive(
    SCALAR, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXT, each, max_size=3), max_leaves=6
)
NAME = st.sampled_from(COMMON_SETTINGS) | st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


def read_again(settings: dict[str, Any]) -> dict[str, Any]:
    row = {"prompt": "a fox", "provider": "imaginelab", **dict(setting_cells(settings))}
    [item] = ask([(1, row)], Defaults(), None)
    return item.request.settings


@given(st.dictionaries(NAME, VALUE, max_size=4))
def test_settings_come_back_as_they_were(settings: dict[str, Any]) -> None:
    found = read_again(settings)
    assert found == settings
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in settings.items()
    }


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("seed", 5, ("seed", "5")),
        ("seed", 2**63 - 1, ("seed", "9223372036854775807")),
        ("duration", 2.5, ("duration", "2.5")),
        ("negative_prompt", "123", ("negative_prompt", "123")),
        ("quality", "high", ("settings.quality", "high")),
        ("quality", "12", ("settings.quality", '"12"')),
        ("steps", 12, ("settings.steps", "12")),
        ("hd", True, ("settings.hd", "true")),
        ("style", "", ("settings.style", '""')),
        ("style", " padded ", ("settings.style", '" padded "')),
        ("seed", "text", ("settings.seed", "text")),
    ],
)
def test_people_find_what_they_would_have_written(name: str, value: Any, cell: tuple[str, str]) -> None:
    assert list(setting_cells({name: value})) == [cell]


def test_nothing_is_no_setting() -> None:
    assert list(setting_cells({"style": None})) == []
    assert math.isclose(read_again({"strength": 0.1})["strength"], 0.1)
