"""The cells of a row as what they stand for, with everything that is wrong in them noted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefect_imagine.prompts.formats import Problems
from prefect_imagine.providers.models import COMMON_SETTINGS
from prefect_imagine.providers.names import nearest

MOST_SECONDS = 24 * 3600
LONGEST_NAME_BYTES = 160
LARGEST_SEED = 2**63 - 1


def choice(row: int, column: str, value: Any, choices: Sequence[str], problems: Problems) -> str | None:
    """One of the choices, in lower case; `None`, noted as a problem, where it is none."""
    if value is None or value == "":
        if not problems.about(column):
            problems.add(missing(column, choices), row=row, column=column)
        return None
    text = str(value).strip().lower()
    if text in choices:
        return text
    problems.add(
        f"unknown {column} {value!r}; {_choose(text, choices)}",
        row=row,
        column=column,
    )
    return None


def _choose(text: str, choices: Sequence[str]) -> str:
    allowed = f"allowed: {', '.join(choices)}"
    close = nearest(text, choices)
    return allowed if close == allowed else f"{close} ({allowed})"


def missing(column: str, choices: Sequence[str]) -> str:
    """What to say of a column that no row and no default fills."""
    return f"is missing; allowed: {', '.join(choices)} (or give --{column} for all rows)"


def whole(row: int, column: str, value: Any, low: int, high: int, problems: Problems) -> int:
    """A whole number within bounds; the lower bound, noted as a problem, where it is none."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else _as_number(value)
    if not isinstance(number, int):
        problems.add(f"{value!r} is no whole number", row=row, column=column)
        return low
    if not low <= number <= high:
        problems.add(f"{number} is out of range; allowed: {low} to {high}", row=row, column=column)
        return low
    return number


def _as_number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    try:
        number = float(str(value))
        return int(str(value)) if re.fullmatch(r"[+-]?\d+", str(value).strip()) else number
    except ValueError:
        return None


def settings_of(row: int, values: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """A row's own settings and those of columns `settings.…`; `None` is left out."""
    settings: dict[str, Any] = {}
    for name in COMMON_SETTINGS:
        if name not in values:
            continue
        if name == "seed":
            settings[name] = whole(row, name, values[name], -LARGEST_SEED, LARGEST_SEED, problems)
        elif name == "duration":
            settings[name] = _seconds(row, name, values[name], problems)
        else:
            settings[name] = str(values[name])
    for name, value in values.items():
        if name.startswith("settings."):
            settings[name.removeprefix("settings.")] = _setting(row, name, value, problems)
    return {name: value for name, value in settings.items() if value is not None}


def _seconds(row: int, column: str, value: Any, problems: Problems) -> int | float | None:
    number = _as_number(value)
    if number is None or number != number:
        problems.add(f"{value!r} is no number of seconds", row=row, column=column)
    elif not 0 < number <= MOST_SECONDS:
        problems.add(
            f"{number} is out of range; allowed: above 0, to {MOST_SECONDS} seconds", row=row, column=column
        )
    else:
        return number
    return None


def _setting(row: int, column: str, value: Any, problems: Problems) -> Any:
    """A provider's own setting as JSON has it, since that is how it is kept and sent."""
    try:
        text = json.dumps(literal(value), default=str, ensure_ascii=False, allow_nan=False)
        text.encode()
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        problems.add(f"cannot be written as JSON: {error}", row=row, column=column)
        return None


def literal(value: Any) -> Any:
    """A cell's value: JSON where it is a number, boolean, list or object, else the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value[:1] in '-0123456789tf[{"' else value
    except (ValueError, RecursionError):
        return value


def name_of(row: int, value: Any, problems: Problems) -> str | None:
    """A name for files, as a store takes it; `None` where the row has none."""
    if value is None:
        return None
    name = re.sub(r"[^\w.-]+", "-", str(value)).strip("-.")
    if not name:
        problems.add(f"{value!r} cannot name a file", row=row, column="name")
    return name.encode()[:LONGEST_NAME_BYTES].decode(errors="ignore")
