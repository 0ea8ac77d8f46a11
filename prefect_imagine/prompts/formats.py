"""Prompts files as rows: csv, jsonl, yaml and text, with everything that is wrong in them noted."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, TextIO

import yaml

from prefect_imagine.errors import InvalidPromptsError, PromptFileError
from prefect_imagine.prompts.bounded_yaml import load_yaml
from prefect_imagine.providers.models import COMMON_SETTINGS

_BLOCK = 1024**2
FORMATS = ("csv", "jsonl", "yaml", "txt")
COLUMNS = ("prompt", "provider", "kind", "model", "count", "name", *COMMON_SETTINGS, "on_refusal")
Row = tuple[int, Mapping[str, Any]]
"""A row's number, from 1 without the header, and its cells by column."""


MOST_KEPT = 1000
"""Problems that are kept one by one; the others are counted."""


class Problems:
    """Collects everything that is wrong, to say it all at once.

    Attributes:
        found: the first of them.
        count: how many there are.
    """

    def __init__(self) -> None:
        self.found: list[PromptFileError] = []
        self.count = 0

    def add(self, message: str, *, row: int | None = None, column: str | None = None) -> None:
        """Note one thing that is wrong."""
        self.include([PromptFileError(message, row=row, column=column)])

    def include(self, problems: Iterable[PromptFileError]) -> None:
        """Note what has been found elsewhere."""
        for each in problems:
            self.count += 1
            if len(self.found) < MOST_KEPT:
                self.found.append(each)

    def about(self, column: str) -> bool:
        """Whether something is wrong with a column as a whole."""
        return any(problem.row is None and problem.column == column for problem in self.found)

    def check(self) -> None:
        """Raise `InvalidPromptsError` if anything was found."""
        if self.found:
            raise InvalidPromptsError(sorted(self.found, key=_place), self.count)


def _place(problem: PromptFileError) -> tuple[int, bool]:
    """By row; columns that nobody knows first: they may be why others are empty."""
    return problem.row or 0, problem.column in COLUMNS


def format_of(name: str) -> str:
    """The format by a file's name. Raises `PromptFileError`."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    known = {"yml": "yaml", "ndjson": "jsonl", "text": "txt"}.get(extension, extension)
    if known not in FORMATS:
        raise PromptFileError(
            f"{name!r} does not tell its format: name it .csv, .jsonl, .yaml or .txt, or give --format"
        )
    return known


def read_rows(file: BinaryIO, file_format: str, problems: Problems) -> Iterator[Row]:
    """The rows of a file that can go back to its beginning, one by one. What cannot be read goes to
    `problems`."""
    wrong = _not_text(file)
    if wrong is not None:
        problems.add(wrong)
        return
    file.seek(0)
    readers = {"csv": _csv_rows, "jsonl": _jsonl_rows, "yaml": _yaml_rows, "txt": _txt_rows}
    # The lines as editors show them: `splitlines` would also cut at characters that a prompt may hold.
    newline = "" if file_format == "csv" else None
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline)
    try:
        yield from readers[file_format](text, problems)
    finally:
        text.detach()


def _not_text(file: BinaryIO) -> str | None:
    """Why a file is no text, which is known before anything of it is used."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = 0
    while True:
        data = file.read(_BLOCK)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            return f"the file is not UTF-8 (byte {place - pending + error.start})"
        if b"\0" in data:
            return "the file is not text: it has zero bytes"
        if not data:
            return None
        place += len(data)


def _csv_rows(text: TextIO, problems: Problems) -> Iterator[Row]:
    reader = csv.reader(text, strict=True)
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


def _jsonl_rows(text: TextIO, problems: Problems) -> Iterator[Row]:
    row = 0
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        row += 1
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"line {number} is not JSON: {error}", row=row)
            continue
        yield from _mapping(row, value, problems)


def _yaml_rows(text: TextIO, problems: Problems) -> Iterator[Row]:
    try:
        value = load_yaml(text.read())
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


def _txt_rows(text: TextIO, problems: Problems) -> Iterator[Row]:
    lines = (line.strip() for line in text)
    yield from ((row, {"prompt": line}) for row, line in enumerate(filter(None, lines), start=1))


def _mapping(row: int, value: Any, problems: Problems) -> Iterator[Row]:
    if isinstance(value, str):
        yield row, {"prompt": value}
    elif isinstance(value, dict):
        yield row, {str(name): cell for name, cell in value.items()}
    else:
        problems.add("must be a mapping of columns, or just the prompt", row=row)
