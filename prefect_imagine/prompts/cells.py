"""A request's settings as cells of a prompts file, from which the reader makes the same settings again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from prefect_imagine.prompts.fields import LARGEST_SEED, MOST_SECONDS, literal


def setting_cells(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Column and cell of each setting, by name; one that is `None` is none."""
    for name, value in sorted(settings.items()):
        if value is not None:
            yield (name, str(value)) if _is_common(name, value) else (f"settings.{name}", cell_of(value))


def cell_of(value: Any) -> str:
    """What the reader takes for this value: a text as it is, where that is not taken for something else."""
    if isinstance(value, str) and value and value == value.strip() and literal(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_common(name: str, value: Any) -> bool:
    """Whether the column of a common setting gives this very value back."""
    match name, value:
        case "seed", int():
            return not isinstance(value, bool) and abs(value) <= LARGEST_SEED
        case "duration", int() | float():
            return not isinstance(value, bool) and 0 < value <= MOST_SECONDS
        case (("negative_prompt" | "aspect_ratio"), str()):
            return bool(value) and value == value.strip()
        case _:
            return False
