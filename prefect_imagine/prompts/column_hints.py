"""What somebody may have meant by a column that prompts do not have."""

from __future__ import annotations

import re

from prefect_imagine.prompts.formats import COLUMNS
from prefect_imagine.providers.names import close_names

GROUPS = ("labels", "settings")
ALIKE = 0.7
"""Names less alike are no misspellings: a setting of a provider's own may be called anything."""
_GROUPED = re.compile(r"([A-Za-z]+)(?:[^A-Za-z0-9]+(.*))?", re.DOTALL)


def column_hint(name: str) -> str:
    """What to write instead of an unknown column."""
    group, inner = _group(name)
    if group and not inner:
        return f"name it {group}.<name>"
    if group:
        return f"did you mean {group}.{inner}?"
    own = f"a provider's own setting goes in a column settings.{name}"
    parts = [column for column in COLUMNS if name.lower() in column.split("_")]
    close = parts or close_names(name.lower(), COLUMNS, alike=ALIKE)
    return f"did you mean {', '.join(close)}? {own[0].upper()}{own[1:]}" if close else own


def _group(name: str) -> tuple[str | None, str | None]:
    """The group that a name such as `label.team` or `settings_quality` is meant for, and the name within."""
    parts = _GROUPED.fullmatch(name)
    close = close_names(parts[1].lower(), GROUPS, alike=ALIKE) if parts else []
    return (close[0], parts[2]) if parts and close else (None, name)
