"""What a person asks for: prompts as a model for flows, and rows of a prompts file as requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from prefect_imagine.prompts.column_hints import column_hint
from prefect_imagine.prompts.fields import choice, missing, name_of, settings_of, whole
from prefect_imagine.prompts.formats import COLUMNS, Problems, read_rows
from prefect_imagine.prompts.templates import fill, names_in
from prefect_imagine.providers.models import Frozen, GenerationKind, GenerationRequest
from prefect_imagine.providers.registry import provider_names

MOST_OF_ONE = 1000
_DOTTED = re.compile(r"(labels|settings)\..+", re.DOTALL)


class Prompt(Frozen):
    """One row: what to generate, and how often."""

    prompt: str = Field(description="What to generate.")
    provider: str | None = Field(
        default=None,
        description="imaginelab, blockadelabs, imagineapi or aivisualstudio; the run's provider where empty.",
    )
    kind: str | None = Field(
        default=None,
        description="image, video, voice, music, infographic or text; the run's kind where empty.",
    )
    model: str | None = Field(
        default=None, description="The model or generator; the run's, else the provider's first, where empty."
    )
    count: int = Field(default=1, ge=1, le=MOST_OF_ONE, description="How many of it.")
    name: str | None = Field(default=None, description="A name for the output files.")
    seed: int | None = Field(default=None, description="The seed, where the provider takes one.")
    negative_prompt: str | None = Field(
        default=None, description="What to avoid, where the provider takes it."
    )
    aspect_ratio: str | None = Field(default=None, description="Such as 16:9, where the provider takes it.")
    duration: float | None = Field(default=None, description="Seconds of video or sound.")
    labels: dict[str, str] = Field(
        default_factory=dict,
        description='Labels that the bill is broken down by, such as {"campaign": "spring"}.',
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="The provider's own settings.")


@dataclass(frozen=True)
class Defaults:
    """What holds for rows that do not say it themselves."""

    provider: str | None = None
    kind: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class RequestedItem:
    """One generation that a person asked for, and the row (from 1) that asked for it."""

    row: int
    request: GenerationRequest
    name: str | None

    @property
    def fingerprint(self) -> str:
        """A stable hash of what was asked, its name and labels included."""
        name = [self.name] if self.name else []
        labels = sorted(self.request.labels.items())
        return "-".join([self.request.fingerprint, *name, *(f"{key}={value}" for key, value in labels)])


def read_prompts(
    data: bytes,
    file_format: str,
    defaults: Defaults,
    variables: Mapping[str, str],
    problems: Problems | None = None,
) -> list[RequestedItem]:
    """All generations that a prompts file asks for.

    Args:
        variables: what `{name}` may stand for besides the row's own columns, such as the date.
        problems: takes what is wrong, for a caller who can find out more before raising it; what is
            returned could be read all the same.

    Raises:
        InvalidPromptsError: with everything that is wrong, unless `problems` takes it.
    """
    found = Problems() if problems is None else problems
    rows = list(read_rows(data, file_format, found))
    asked = ask(rows, defaults, variables if file_format != "txt" else None, found)
    if problems is None:
        found.check()
    return asked


def ask(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems | None = None,
) -> list[RequestedItem]:
    """The generations that rows (numbered from 1) ask for; see `read_prompts` for `problems`. Without
    `variables` prompts are no templates."""
    found = Problems() if problems is None else problems
    asked = _ask(rows, defaults, variables, found)
    if problems is None:
        found.check()
    return asked


def _ask(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems,
) -> list[RequestedItem]:
    if not rows and not problems.found:
        problems.add("there are no prompts")
    flat = [(row, _flat(value, row, problems)) for row, value in rows]
    if rows and defaults.provider is None and not any("provider" in values for _, values in flat):
        problems.add(missing("provider", provider_names()), column="provider")
    used = _used_variables(flat) | variables.keys() if variables is not None else set()
    _check_columns(flat, used, problems)
    return [each for row, values in flat for each in _ask_row(row, values, defaults, variables, problems)]


def prompts_to_rows(prompts: Iterable[Prompt]) -> list[tuple[int, dict[str, Any]]]:
    """Prompts of a flow's parameter as rows."""
    return [(row, prompt.model_dump(exclude_none=True)) for row, prompt in enumerate(prompts, start=1)]


def _flat(values: Mapping[str, Any], row: int, problems: Problems) -> dict[str, Any]:
    """The row's cells by dotted names, without the empty ones."""
    flat: dict[str, Any] = {}
    for name, value in _dotted(values, row, problems):
        if not _is_text(name) or not _is_text(value):
            problems.add("is no Unicode text: it has half of a character pair", row=row, column=name)
        elif not isinstance(value, str):
            flat |= {name: value} if value is not None else {}
        elif value.strip() or name == "prompt":
            flat[name] = value.strip()
    return flat


def _dotted(values: Mapping[str, Any], row: int, problems: Problems) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name not in ("labels", "settings") or value in (None, ""):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            problems.add(f"must be a mapping, or columns {name}.…", row=row, column=name)


def _is_text(value: Any) -> bool:
    """Whether it can be written down; a JSON string may hold what cannot."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _used_variables(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> set[str]:
    return {name for _, values in rows for name in names_in(str(values.get("prompt", "")))}


def _check_columns(rows: Iterable[tuple[int, Mapping[str, Any]]], used: set[str], problems: Problems) -> None:
    unknown: dict[str, int] = {}
    for row, values in rows:
        for name in values:
            if name not in COLUMNS and name not in used and not _DOTTED.fullmatch(name):
                unknown.setdefault(name, row)
    allowed = ", ".join((*COLUMNS, "labels.<name>", "settings.<name>"))
    for name, row in unknown.items():
        what = f"unknown column; {column_hint(name)}" if name else "a cell under a column without a name"
        problems.add(f"{what} (allowed: {allowed})", row=row, column=name)


def _ask_row(
    row: int,
    values: Mapping[str, Any],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems,
) -> Iterator[RequestedItem]:
    prompt = _prompt(row, values, variables, problems)
    provider = choice(
        row, "provider", values.get("provider") or defaults.provider, provider_names(), problems
    )
    kinds = tuple(GenerationKind)
    kind = choice(row, "kind", values.get("kind") or defaults.kind or "image", kinds, problems)
    model = values.get("model") or defaults.model
    count = whole(row, "count", values.get("count", 1), 1, MOST_OF_ONE, problems)
    settings = settings_of(row, values, problems)
    labels = {
        name.removeprefix("labels."): str(value)
        for name, value in values.items()
        if name.startswith("labels.")
    }
    name = name_of(row, values.get("name"), problems)
    if provider is None or kind is None:
        return
    request = GenerationRequest(
        provider=provider,
        kind=GenerationKind(kind),
        model=str(model) if model else None,
        prompt=prompt,
        settings=settings,
        labels=labels,
    )
    yield from (RequestedItem(row=row, request=request, name=name) for _ in range(count))


class _Known(Mapping[str, Any]):
    """What a row's prompt may use: its other columns, and beyond them what all rows may."""

    def __init__(self, values: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        self._values = values
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        own = name != "prompt" and name in self._values
        return self._values[name] if own else self._variables[name]

    def __contains__(self, name: object) -> bool:
        return (name != "prompt" and name in self._values) or name in self._variables

    def __iter__(self) -> Iterator[str]:
        return iter({name for name in (*self._values, *self._variables) if name != "prompt"})

    def __len__(self) -> int:
        return len(list(iter(self)))


def _prompt(
    row: int, values: Mapping[str, Any], variables: Mapping[str, str] | None, problems: Problems
) -> str:
    raw = values.get("prompt", "")
    if not isinstance(raw, str):
        problems.add("must be text", row=row, column="prompt")
        return ""
    text, wrong = raw, list[str]()
    if variables is not None:
        text, wrong = fill(raw, _Known(values, variables), "in this row")
    for message in wrong:
        problems.add(message, row=row, column="prompt")
    if not text.strip() and not wrong:
        problems.add("is empty", row=row, column="prompt")
    return text.strip()
