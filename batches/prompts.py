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
MOST_SECONDS = 24 * 3600
LONGEST_NAME_BYTES = 160
LARGEST_SEED = 2**63 - 1
_DOTTED = re.compile(r"(labels|settings)\..+", re.DOTALL)
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

    def about(self, column: str) -> bool:
        """Whether something is wrong with a column as a whole."""
        return any(problem.row is None and problem.column == column for problem in self.found)

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
    data: bytes,
    file_format: str,
    defaults: Defaults,
    variables: Mapping[str, str],
    problems: Problems | None = None,
) -> list[Asked]:
    """All generations that a prompts file asks for.

    Args:
        variables: what `{name}` may stand for besides the row's own columns, such as the date.
        problems: takes what is wrong, for a caller who can find out more before raising it; what is
            returned could be read all the same.

    Raises:
        InvalidPromptsError: with everything that is wrong, unless `problems` takes it.
    """
    found = Problems() if problems is None else problems
    rows = list(_rows(data, file_format, found))
    asked = _ask(rows, defaults, variables if file_format != "txt" else None, found)
    if problems is None:
        found.check()
    return asked


def ask(
    rows: Sequence[tuple[int, Mapping[str, Any]]], defaults: Defaults, variables: Mapping[str, str]
) -> list[Asked]:
    """The generations that rows (numbered from 1) ask for. Raises `InvalidPromptsError`."""
    problems = Problems()
    asked = _ask(rows, defaults, variables, problems)
    problems.check()
    return asked


def _ask(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems,
) -> list[Asked]:
    """Without `variables` prompts are no templates."""
    if not rows and not problems.found:
        problems.add("there are no prompts")
    flat = [(row, _flat(value, row, problems)) for row, value in rows]
    if rows and defaults.provider is None and not any("provider" in values for _, values in flat):
        problems.add(_missing("provider", PROVIDERS), column="provider")
    used = _used_variables(flat) | variables.keys() if variables is not None else set()
    _check_columns(flat, used, problems)
    return [each for row, values in flat for each in _ask_row(row, values, defaults, variables, problems)]


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
        header = [name.strip() for name in next(filter(any, reader), [])]
        if not _check_header(header, problems):
            return
        row = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row += 1
            if any(cell.strip() for cell in cells[len(header) :]):
                problems.add(f"has {len(cells)} cells, the header has {len(header)}", row=row)
            yield row, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        problems.add(f"the csv cannot be read at line {reader.line_num}: {error}")


def _check_header(header: list[str], problems: Problems) -> bool:
    """Whether rows can be read by it."""
    for name in dict.fromkeys(name for name in header if name and header.count(name) > 1):
        problems.add("this column is there twice", column=name)
    if not any(header):
        problems.add("there are no prompts")
    elif "prompt" not in header:
        problems.add(
            f"there is no column 'prompt' in the first line, which has {', '.join(map(repr, header))}; "
            f"it names the columns, with commas between them: {', '.join(COLUMNS)}"
        )
    return "prompt" in header


def _jsonl_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    row = 0
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        row += 1
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"line {number} is not JSON: {error}", row=row)
            continue
        yield from _mapping(row, value, problems)


def _yaml_rows(text: str, problems: Problems) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
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
    lines = [line.strip() for line in _lines(text) if line.strip()]
    yield from ((row, {"prompt": line}) for row, line in enumerate(lines, start=1))


def _lines(text: str) -> Iterable[str]:
    """The lines as editors show them: `splitlines` would also cut at characters that a prompt may hold."""
    return io.StringIO(text, newline=None)


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
            if name not in COLUMNS and name not in used and not _DOTTED.fullmatch(name):
                unknown.setdefault(name, row)
    allowed = (*COLUMNS, "labels.*", "settings.*")
    for name, row in unknown.items():
        what = "unknown column" if name else "a cell under a column without a name"
        problems.add(
            f"{what}; {nearest(name, allowed)} (allowed: {', '.join(allowed)})", row=row, column=name
        )


def _ask_row(
    row: int,
    values: Mapping[str, Any],
    defaults: Defaults,
    variables: Mapping[str, str] | None,
    problems: Problems,
) -> Iterator[Asked]:
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
    yield from (Asked(row=row, request=request, name=name) for _ in range(count))


def _prompt(
    row: int, values: Mapping[str, Any], variables: Mapping[str, str] | None, problems: Problems
) -> str:
    raw = values.get("prompt", "")
    if not isinstance(raw, str):
        problems.add("must be text", row=row, column="prompt")
        return ""
    before = len(problems.found)
    text = raw if variables is None else _filled(row, raw, {**variables, **values}, problems)
    if not text.strip() and len(problems.found) == before:
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


def _choice(row: int, column: str, value: Any, choices: Sequence[str], problems: Problems) -> str | None:
    if value is None or value == "":
        if not problems.about(column):
            problems.add(_missing(column, choices), row=row, column=column)
        return None
    text = str(value).strip().lower()
    if text in choices:
        return text
    problems.add(
        f"unknown {column} {value!r}; {nearest(text, choices)} (allowed: {', '.join(choices)})",
        row=row,
        column=column,
    )
    return None


def _missing(column: str, choices: Sequence[str]) -> str:
    return f"is missing; allowed: {', '.join(choices)} (or give --{column} for all rows)"


def _whole(row: int, column: str, value: Any, low: int, high: int, problems: Problems) -> int:
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


def _settings(row: int, values: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in SETTINGS:
        if name not in values:
            continue
        if name == "seed":
            settings[name] = _whole(row, name, values[name], -LARGEST_SEED, LARGEST_SEED, problems)
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
        text = json.dumps(_literal(value), default=str, ensure_ascii=False, allow_nan=False)
        text.encode()
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        problems.add(f"cannot be written as JSON: {error}", row=row, column=column)
        return None


def _literal(value: Any) -> Any:
    """A cell's value: JSON where it is a number, boolean, list or object, else the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value[:1] in '-0123456789tf[{"' else value
    except (ValueError, RecursionError):
        return value


def _name(row: int, value: Any, problems: Problems) -> str | None:
    if value is None:
        return None
    name = re.sub(r"[^\w.-]+", "-", str(value)).strip("-.")
    if not name:
        problems.add(f"{value!r} cannot name a file", row=row, column="name")
    return name.encode()[:LONGEST_NAME_BYTES].decode(errors="ignore")
