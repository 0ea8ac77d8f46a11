"""A person's prompts: as a model for flows, and read from csv, jsonl, yaml and text files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import Field

from prefect_imagine.errors import InvalidPromptsError, PromptFileError
from prefect_imagine.providers.base import nearest
from prefect_imagine.providers.models import Frozen, GenerationKind, GenerationRequest
from prefect_imagine.providers.registry import PROVIDERS

FORMATS = ("csv", "jsonl", "yaml", "txt")
SETTINGS = ("seed", "negative_prompt", "aspect_ratio", "duration")
COLUMNS = ("prompt", "provider", "kind", "model", "count", "name", *SETTINGS)
MOST_OF_ONE = 1000
LONGEST_NAME = 80
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Prompt(Frozen):
    """One row: what to generate, and how often."""

    prompt: str = Field(description="What to generate.")
    provider: str | None = Field(default=None, description="The provider; the run's default where empty.")
    kind: str | None = Field(default=None, description="image, video, voice, music, infographic or text.")
    model: str | None = Field(
        default=None, description="The model or generator; the provider's first where empty."
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
        default_factory=dict, description="Labels that the bill is broken down by."
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="The provider's own settings.")


@dataclass(frozen=True)
class Defaults:
    """What holds for rows that do not say it themselves."""

    provider: str | None = None
    kind: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Asked:
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


class Problems:
    """Collects everything that is wrong, to say it all at once."""

    def __init__(self) -> None:
        self.found: list[PromptFileError] = []

    def add(self, message: str, *, row: int | None = None, column: str | None = None) -> None:
        """Note one thing that is wrong."""
        self.found.append(PromptFileError(message, row=row, column=column))

    def check(self) -> None:
        """Raise `InvalidPromptsError` if anything was found."""
        if self.found:
            raise InvalidPromptsError(sorted(self.found, key=lambda problem: problem.row or 0))


def format_of(name: str) -> str:
    """The format that a file's name tells. Raises `PromptFileError`."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    known = {"yml": "yaml", "ndjson": "jsonl", "text": "txt"}.get(extension, extension)
    if known not in FORMATS:
        raise PromptFileError(
            f"{name!r} does not tell its format: name it .csv, .jsonl, .yaml or .txt, or give --format"
        )
    return known


def read_prompts(
    data: bytes, file_format: str, defaults: Defaults, variables: Mapping[str, str]
) -> list[Asked]:
    """All generations that a prompts file asks for.

    Args:
        variables: what `{name}` may stand for besides the row's own columns, such as the date.

    Raises:
        InvalidPromptsError: with everything that is wrong.
    """
    problems = Problems()
    rows = list(_rows(data, file_format, problems))
    problems.check()
    return ask(rows, defaults, variables, templates=file_format != "txt")


def ask(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    defaults: Defaults,
    variables: Mapping[str, str],
    *,
    templates: bool = True,
) -> list[Asked]:
    """The generations that rows (numbered from 1) ask for. Raises `InvalidPromptsError`."""
    problems = Problems()
    if not rows:
        problems.add("there are no prompts")
    flat = [(row, _flat(value, row, problems)) for row, value in rows]
    used = _used_variables(flat) if templates else set()
    _check_columns(flat, used | set(variables), problems)
    asked = [
        each
        for row, values in flat
        for each in _ask_row(row, values, defaults, variables if templates else None, problems)
    ]
    problems.check()
    return asked


def prompts_to_rows(prompts: Iterable[Prompt]) -> list[tuple[int, dict[str, Any]]]:
    """Prompts of a flow's parameter as rows."""
    return [(row, prompt.model_dump(exclude_none=True)) for row, prompt in enumerate(prompts, start=1)]


def _rows(data: bytes, file_format: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(f"the file is not UTF-8 (byte {error.start})")
        return
    if "\0" in text:
        problems.add("the file is not text: it has zero bytes")
        return
    readers = {"csv": _csv_rows, "jsonl": _jsonl_rows, "yaml": _yaml_rows, "txt": _txt_rows}
    yield from readers[file_format](text, problems)


def _csv_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, problems)
        row = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row += 1
            if len(cells) > len(header):
                problems.add(f"has {len(cells)} cells, the header has {len(header)}", row=row)
            yield row, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        problems.add(f"the csv cannot be read at line {reader.line_num}: {error}")


def _check_header(header: list[str], problems: Problems) -> None:
    if not any(header):
        problems.add("there are no prompts")
    elif "prompt" not in header:
        problems.add(f"there is no column 'prompt'; the first line names the columns: {', '.join(COLUMNS)}")
    for name in {name for name in header if header.count(name) > 1 and name}:
        problems.add("this column is there twice", column=name)


def _jsonl_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    row = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        row += 1
        try:
            value = json.loads(line)
        except ValueError as error:
            problems.add(f"line {number} is not JSON: {error}", row=row)
            continue
        yield from _mapping(row, value, problems)


def _yaml_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place is not None else ""
        problems.add(f"the yaml cannot be read{where}: {getattr(error, 'problem', None) or error}")
        return
    if isinstance(value, dict) and isinstance(value.get("prompts"), list):
        value = value["prompts"]
    if value is None:
        return
    if not isinstance(value, list):
        problems.add("the yaml must be a list of prompts, or a mapping with such a list under 'prompts'")
        return
    for row, entry in enumerate(value, start=1):
        yield from _mapping(row, entry, problems)


def _txt_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    yield from ((row, {"prompt": line}) for row, line in enumerate(lines, start=1))


def _mapping(row: int, value: Any, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if isinstance(value, str):
        yield row, {"prompt": value}
    elif isinstance(value, dict):
        yield row, {str(name): cell for name, cell in value.items()}
    else:
        problems.add("must be a mapping of columns, or just the prompt", row=row)


def _flat(values: Mapping[str, Any], row: int, problems: Problems) -> dict[str, Any]:
    """The row's cells by dotted names, without the empty ones."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("labels", "settings") and value not in (None, ""):
            if isinstance(value, Mapping):
                flat |= {f"{name}.{inner}": each for inner, each in value.items() if each not in (None, "")}
            else:
                problems.add("must be a mapping", row=row, column=name)
        elif isinstance(value, str):
            flat |= {name: value.strip()} if value.strip() or name == "prompt" else {}
        elif value is not None:
            flat[name] = value
    return flat


def _used_variables(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> set[str]:
    return {
        match[1].strip()
        for _, values in rows
        for match in _PLACEHOLDER.finditer(str(values.get("prompt", "")))
        if match[1] is not None
    }


def _check_columns(rows: Iterable[tuple[int, Mapping[str, Any]]], used: set[str], problems: Problems) -> None:
    unknown: dict[str, int] = {}
    for row, values in rows:
        for name in values:
            if name not in COLUMNS and name not in used and not name.startswith(("labels.", "settings.")):
                unknown.setdefault(name, row)
    for name in unknown:
        allowed = (*COLUMNS, "labels.*", "settings.*")
        problems.add(f"unknown column; {nearest(name, allowed)}", column=name)


def _ask_row(
    row: int,
    values: Mapping[str, Any],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems,
) -> Iterator[Asked]:
    before = len(problems.found)
    prompt = _prompt(row, values, variables, problems)
    provider = _choice(row, "provider", values.get("provider") or defaults.provider, PROVIDERS, problems)
    kinds = tuple(GenerationKind)
    kind = _choice(row, "kind", values.get("kind") or defaults.kind or "image", kinds, problems)
    model = values.get("model") or defaults.model
    count = _whole(row, "count", values.get("count", 1), 1, MOST_OF_ONE, problems)
    settings = _settings(row, values, problems)
    labels = {
        name.removeprefix("labels."): str(value)
        for name, value in values.items()
        if name.startswith("labels.")
    }
    name = _name(row, values.get("name"), problems)
    if len(problems.found) > before:
        return
    request = GenerationRequest(
        provider=provider,
        kind=GenerationKind(kind),
        model=str(model) if model else None,
        prompt=prompt,
        settings=settings,
        labels=labels,
    )
    yield from (Asked(row=row, request=request, name=name) for _ in range(count))


def _prompt(
    row: int, values: Mapping[str, Any], variables: Mapping[str, str] | None, problems: Problems
) -> str:
    raw = values.get("prompt", "")
    if not isinstance(raw, str):
        problems.add("must be text", row=row, column="prompt")
        return ""
    text = raw if variables is None else _filled(row, raw, {**variables, **values}, problems)
    if not text.strip():
        problems.add("is empty", row=row, column="prompt")
    return text.strip()


def _filled(row: int, template: str, values: Mapping[str, Any], problems: Problems) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] is None:
            problems.add(f"a lone {match[0]!r}: write {match[0] * 2!r} for a brace", row=row, column="prompt")
            return match[0]
        name = match[1].strip()
        if name == "prompt" or name not in values:
            known = sorted(each for each in values if each != "prompt")
            problems.add(
                f"{{{name}}} has no value in this row; {nearest(name, known)} (write {{{{ for a brace)",
                row=row,
                column="prompt",
            )
            return ""
        return str(values[name])

    return _PLACEHOLDER.sub(fill, template)


def _choice(row: int, column: str, value: Any, choices: Sequence[str], problems: Problems) -> str:
    if value is None or value == "":
        problems.add(
            f"is missing; allowed: {', '.join(choices)} (or give --{column} for all rows)",
            row=row,
            column=column,
        )
        return ""
    text = str(value).strip().lower()
    if text not in choices:
        problems.add(
            f"unknown {column} {value!r}; {nearest(text, choices)} (allowed: {', '.join(choices)})",
            row=row,
            column=column,
        )
    return text


def _whole(row: int, column: str, value: Any, low: int, high: int, problems: Problems) -> int:
    number = value if isinstance(value, int) and not isinstance(value, bool) else _as_number(value)
    if not isinstance(number, int):
        problems.add(f"{value!r} is no whole number", row=row, column=column)
        return low
    if not low <= number <= high:
        problems.add(f"{number} is out of range; allowed: {low} to {high}", row=row, column=column)
    return number


def _as_number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return int(value) if float(value).is_integer() else value
    try:
        number = float(str(value))
        return int(str(value)) if re.fullmatch(r"[+-]?\d+", str(value).strip()) else number
    except ValueError:
        return None


def _settings(row: int, values: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in SETTINGS:
        if name not in values:
            continue
        if name in ("seed", "duration"):
            number = _as_number(values[name])
            if number is None or (name == "seed" and not isinstance(number, int)) or number != number:
                kind = "whole number" if name == "seed" else "number of seconds"
                problems.add(f"{values[name]!r} is no {kind}", row=row, column=name)
            elif name == "duration" and not 0 < number < float("inf"):
                problems.add(
                    f"{number} is out of range; it must be more than 0 seconds", row=row, column=name
                )
            else:
                settings[name] = number
        else:
            settings[name] = str(values[name])
    for name, value in values.items():
        if name.startswith("settings."):
            settings[name.removeprefix("settings.")] = _literal(value)
    return settings


def _literal(value: Any) -> Any:
    """A cell's value: JSON where it is a number, boolean, list or object, else the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value[:1] in '-0123456789tf[{"' else value
    except ValueError:
        return value


def _name(row: int, value: Any, problems: Problems) -> str | None:
    if value is None:
        return None
    name = re.sub(r"[^\w.-]+", "-", str(value)).strip("-.")
    if not name:
        problems.add(f"{value!r} cannot name a file", row=row, column="name")
    return name[:LONGEST_NAME]
