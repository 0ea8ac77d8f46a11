"""What a person asks for: prompts as a model for flows, and rows of a prompts file as requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydantic import Field, ValidationError

from prefect_imagine.prompts.column_hints import column_hint
from prefect_imagine.prompts.fields import choice, missing, name_of, settings_of, whole
from prefect_imagine.prompts.formats import COLUMNS, MOST_KEPT, Problems, Row, read_rows
from prefect_imagine.prompts.templates import fill, names_in
from prefect_imagine.providers.models import (
    COMMON_SETTINGS,
    Frozen,
    GenerationKind,
    GenerationRequest,
)
from prefect_imagine.providers.on_refusal import FAIL, OnRefusal, split_fallback, what_is_wrong
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
    on_refusal: OnRefusal | None = Field(
        default=None, description="What to do where the provider refuses or fails it; the run's, where empty."
    )
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
    on_refusal: OnRefusal = FAIL


@dataclass(frozen=True)
class RequestedItem:
    """One generation that a person asked for, and the row (from 1) that asked for it.

    Attributes:
        known: its fingerprint, where that has been made before.
        on_refusal: what to do where the provider refuses or fails it. What was asked for is the same whatever
            that says.
    """

    row: int
    request: GenerationRequest
    name: str | None
    known: str | None = None
    on_refusal: OnRefusal = FAIL

    @property
    def fingerprint(self) -> str:
        """A stable hash of what was asked, its name and labels included."""
        if self.known is not None:
            return self.known
        name = [self.name] if self.name else []
        labels = sorted(self.request.labels.items())
        return "-".join([self.request.fingerprint, *name, *(f"{key}={value}" for key, value in labels)])

    @property
    def fallbacks(self) -> Iterator[GenerationRequest]:
        """What is asked of each fallback. A seed means nothing elsewhere, nor do settings that are one
        provider's own."""
        request = self.request
        for each in self.on_refusal.fallback:
            provider, model = split_fallback(each)
            shared = request.settings if provider == request.provider else COMMON_SETTINGS
            settings = {name: value for name, value in request.settings.items() if name in shared}
            settings.pop("seed", None)
            yield request.model_copy(update={"provider": provider, "model": model, "settings": settings})


def read_prompts(
    file: BinaryIO, file_format: str, defaults: Defaults, variables: Mapping[str, str], problems: Problems
) -> Iterator[RequestedItem]:
    """The generations that a prompts file asks for, row by row.

    Args:
        file: at its beginning, and able to go back there.
        variables: what `{name}` may stand for besides the row's own columns, such as the date.
        problems: takes what is wrong; what comes could be read all the same.
    """
    rows = read_rows(file, file_format, problems)
    return asked_by(rows, defaults, variables if file_format != "txt" else None, problems)


def ask(rows: Iterable[Row], defaults: Defaults, variables: Mapping[str, str] | None) -> list[RequestedItem]:
    """The generations that a few rows ask for. Raises `InvalidPromptsError` with everything that is wrong."""
    problems = Problems()
    asked = list(asked_by(rows, defaults, variables, problems))
    problems.check()
    return asked


def asked_by(
    rows: Iterable[Row], defaults: Defaults, variables: Mapping[str, str] | None, problems: Problems
) -> Iterator[RequestedItem]:
    """The generations that rows (numbered from 1) ask for, row by row; what is wrong goes to `problems`.
    Without `variables` prompts are no templates."""
    columns = _Columns(defaults, variables)
    for row, value in rows:
        values = _flat(value, row, problems)
        columns.take(row, values)
        yield from _ask_row(row, values, defaults, variables, problems)
    columns.check(problems)


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


class _Columns:
    """What the rows have in common: which columns they fill, and which their prompts use."""

    def __init__(self, defaults: Defaults, variables: Mapping[str, str] | None) -> None:
        self._rows = 0
        self._defaults = defaults
        self._providers = 0
        self._without_provider: list[int] = []
        self._templates = variables is not None
        self._used = set(variables or ())
        self._unknown: dict[str, int] = {}

    def take(self, row: int, values: Mapping[str, Any]) -> None:
        self._rows += 1
        if values.get("provider"):
            self._providers += 1
        elif len(self._without_provider) < MOST_KEPT:
            self._without_provider.append(row)
        for name in values:
            if name not in COLUMNS and not _DOTTED.fullmatch(name):
                self._unknown.setdefault(name, row)
        prompt = values.get("prompt", "") if self._templates else ""
        if "{" in str(prompt):
            self._used |= names_in(str(prompt))

    def check(self, problems: Problems) -> None:
        """Note what is wrong with columns as a whole, and with rows that lack what others have."""
        if not self._rows and not problems.found:
            problems.add("there are no prompts")
        self._check_provider(problems)
        allowed = ", ".join((*COLUMNS, "labels.<name>", "settings.<name>"))
        for name, row in self._unknown.items():
            if name in self._used:
                continue
            what = f"unknown column; {column_hint(name)}" if name else "a cell under a column without a name"
            problems.add(f"{what} (allowed: {allowed})", row=row, column=name)

    def _check_provider(self, problems: Problems) -> None:
        lacking = self._rows - self._providers
        if self._defaults.provider or not lacking:
            return
        said = missing("provider", provider_names())
        if not self._providers:
            problems.add(said, column="provider")
            return
        for row in self._without_provider:
            problems.add(said, row=row, column="provider")
        problems.count += lacking - len(self._without_provider)


def _ask_row(
    row: int,
    values: Mapping[str, Any],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems,
) -> Iterator[RequestedItem]:
    prompt = _prompt(row, values, variables, problems)
    named = values.get("provider") or defaults.provider
    # Whether all rows lack it or this one does is known after the last.
    provider = choice(row, "provider", named, provider_names(), problems) if named else None
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
    on_refusal = _on_refusal(row, values.get("on_refusal"), defaults.on_refusal, problems)
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
    item = RequestedItem(row=row, request=request, name=name, on_refusal=on_refusal)
    yield from (item for _ in range(count))


def _on_refusal(row: int, value: Any, default: OnRefusal, problems: Problems) -> OnRefusal:
    if value is None:
        return default
    try:
        return OnRefusal.model_validate(value)
    except ValidationError as error:
        problems.add(what_is_wrong(error), row=row, column="on_refusal")
        return default


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
