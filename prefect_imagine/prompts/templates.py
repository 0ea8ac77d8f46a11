"""`{name}` in prompts and batch ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.names import nearest

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Variables(Mapping[str, str]):
    """What templates may use, and whether one did.

    Attributes:
        used: the names that were asked for.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self.used: set[str] = set()
        self._values = values

    def __getitem__(self, name: str) -> str:
        self.used.add(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def variables(at: datetime) -> dict[str, str]:
    """What `{date}` and its like stand for; frozen in the plan.

    Nothing finer than a day: the same command again has to mean the same batch.
    """
    return {"date": at.date().isoformat(), "weekday": f"{at:%A}"}


def names_in(template: str) -> set[str]:
    """The names that a template uses."""
    return {match[1].strip() for match in _PLACEHOLDER.finditer(template) if match[1] is not None}


def fill(template: str, values: Mapping[str, Any], place: str = "here") -> tuple[str, list[str]]:
    """The template with its names filled in, and what is wrong with it. `{{` and `}}` stand for braces."""
    wrong: list[str] = []

    def filled(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] is None:
            wrong.append(f"a lone {match[0]!r}: write {match[0] * 2!r} for a brace")
            return match[0]
        name = match[1].strip()
        if name not in values:
            known = nearest(name, sorted(values))
            wrong.append(f"{{{name}}} has no value {place}; {known} (write {{{{ for a brace)")
            return ""
        return str(values[name])

    return _PLACEHOLDER.sub(filled, template), wrong


def fill_id(template: str, at: datetime) -> str:
    """A batch id such as `nightly-{date}`, filled in. Raises `ConfigurationError`."""
    batch_id, wrong = fill(template, variables(at))
    if wrong:
        raise ConfigurationError(f"batch id {template!r}: {'; '.join(wrong)}")
    return batch_id
