"""Wrong prompts files: everything is said at once, with row, column, what is wrong and what is allowed."""

from __future__ import annotations

import io
import json
import time

import pytest

from prefect_imagine.errors import InvalidPromptsError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import Defaults, read_prompts
from prefect_imagine.providers.registry import provider_names
from tests.prompts.reading import read_whole

DEFAULTS = Defaults(provider="aivisualstudio")


def problems(
    text: str | bytes, file_format: str = "csv", defaults: Defaults = DEFAULTS
) -> list[tuple[int | None, str | None, str]]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(InvalidPromptsError) as raised:
        read_whole(data, file_format, defaults, {"date": "2025-03-01"})
    return [(each.row, each.column, str(each)) for each in raised.value.problems]


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        ("on_refusal", "retry", "'retry' is none of: fail; reseed: 2; fallback: [provider, provider:model]"),
        ("on_refusal", "reseed: 11", "reseed: Input should be less than or equal to 10"),
        ("on_refusal", "reseed: a few", "reseed: Input should be a valid integer"),
        ("on_refusal", "fallback: imagelab", "fallback: there is no provider 'imagelab'; did you mean"),
        ("on_refusal", "moderation: true", "moderation says when to reseed or fall back: give reseed or"),
        ("colour", "red", "unknown column; a provider's own setting goes in a column settings.colour ("),
        (
            "guidance scale",
            "7",
            "unknown column; a provider's own setting goes in a column settings.guidance",
        ),
        ("negative prompt", "x", "did you mean negative_prompt? A provider's own setting goes in a column "),
        ("SEED", "7", "unknown column; did you mean seed? A provider's own setting goes in a column "),
        ("labels.", "x", "unknown column; name it labels.<name> ("),
        ("label", "x", "unknown column; name it labels.<name> ("),
        ("ratio", "16:9", "unknown column; did you mean aspect_ratio? A provider's own setting goes in a "),
        ("label.team", "x", "unknown column; did you mean labels.team? ("),
        ("setings.quality", "x", "unknown column; did you mean settings.quality? ("),
        ("settings_quality", "x", "unknown column; did you mean settings.quality? ("),
        ("Settings: quality", "x", "unknown column; did you mean settings.quality? ("),
        ("provider", "aivisualstdio", "did you mean aivisualstudio? (allowed: imaginelab, blockadelabs, "),
        (
            "kind",
            "imgae",
            "did you mean image, voice, video? (allowed: image, video, voice, music, infographic, text)",
        ),
        ("count", "0", "0 is out of range; allowed: 1 to 1000"),
        ("count", "1001", "1001 is out of range; allowed: 1 to 1000"),
        ("count", "-1", "-1 is out of range"),
        ("count", "two", "'two' is no whole number"),
        ("count", "1.5", "'1.5' is no whole number"),
        ("seed", "x", "'x' is no whole number"),
        ("seed", "1e400", "'1e400' is no whole number"),
        ("seed", "9" * 400, "is out of range"),
        ("duration", "5s", "'5s' is no number of seconds"),
        ("duration", "0", "0 is out of range; allowed: above 0"),
        ("duration", "nan", "'nan' is no number of seconds"),
        ("duration", "inf", "inf is out of range"),
        ("duration", "9" * 400, "is out of range"),
        ("name", "///", "'///' cannot name a file"),
        ("labels", "spring", "must be a mapping, or columns labels.…"),
        ("settings.x", "-Infinity", "cannot be written as JSON"),
    ],
)
def test_a_wrong_cell_is_told_with_row_and_column(column: str, cell: str, says: str) -> None:
    ((row, where, message),) = problems(f"prompt,{column}\nfine,\na fox,{cell}\n")
    assert (row, where) == (2, column)
    assert message.startswith(f"row 2, column {column!r}: ")
    assert says in message


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("{colour}", "{colour} has no value in this row; "),
        ("{}", "{} has no value in this row; "),
        ("{prompt}", "{prompt} has no value in this row; "),
        ("{seed}", "{seed} has no value in this row; "),
        ("a { fox", "a lone '{': write '{{' for a brace"),
        ("a } fox", "a lone '}': write '}}' for a brace"),
    ],
)
def test_a_wrong_prompt_is_one_problem(prompt: str, says: str) -> None:
    ((row, column, message),) = problems(f"prompt,model,seed\n{prompt},m1,\n")
    assert (row, column) == (1, "prompt")
    assert says in message


def test_a_missing_variable_is_told_with_the_ones_there_are() -> None:
    ((_, _, message),) = problems("prompt,colour\n{color},red\n{colour},red\n")
    assert "did you mean colour?" in message


@pytest.mark.parametrize(
    ("text", "file_format", "says"),
    [
        ("", "csv", "there are no prompts"),
        ("prompt,provider\n", "csv", "there are no prompts"),
        ("prompt\n\n \n", "csv", "there are no prompts"),
        ("\n\n", "jsonl", "there are no prompts"),
        ("", "yaml", "there are no prompts"),
        ("[]", "yaml", "there are no prompts"),
        ("prompts: []", "yaml", "there are no prompts"),
        (" \n", "txt", "there are no prompts"),
        (b"\xff\xfeh\x00i\x00", "csv", "the file is not UTF-8 (byte 0)"),
        ("a\0b", "txt", "the file is not text: it has zero bytes"),
        ('prompt\n"a fox', "csv", "the csv cannot be read at line 2"),
        ('prompt\n"a" fox\n', "csv", "the csv cannot be read at line 2"),
        ("prompt;kind\na;image\n", "csv", "no column 'prompt' in the first line, which has 'prompt;kind'"),
        ("a fox\na hen\n", "csv", "it names the columns, with commas between them: prompt, provider"),
        ("- [unclosed", "yaml", "the yaml cannot be read at line 1"),
        ("a: b: c", "yaml", "the yaml cannot be read at line 1"),
        ("- 2025-99-99", "yaml", "the yaml cannot be read"),
        ("prompt: a fox", "yaml", "must be a list of prompts"),
        ("[" * 20_000, "yaml", "the yaml cannot be read"),
        ("- &a {prompt: x, settings: {y: *a}}", "yaml", "stands inside of what it stands for"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(text: str | bytes, file_format: str, says: str) -> None:
    ((row, column, message),) = problems(text, file_format)
    assert (row, column) == (None, None)
    assert says in message


def nested_aliases(levels: int, width: int) -> str:
    """A file of which each line stands for the one above several times."""
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    row = f"prompts: [{{prompt: x, settings: {{all: *a{levels - 1}}}}}]"
    return "\n".join(["a0: &a0 [x]", *lines, row])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested_aliases(levels=8, width=9), "its aliases stand for far more than it holds"),
        (nested_aliases(levels=40, width=9), "its aliases stand for far more than it holds"),
        (nested_aliases(levels=5000, width=1), "it is more than 100 levels deep"),
    ],
)
def test_aliases_that_stand_for_too_much_are_told_at_once(text: str, says: str) -> None:
    begun = time.monotonic()
    ((_, _, message),) = problems(text, "yaml")
    assert says in message
    assert time.monotonic() - begun < 5


def test_every_bad_line_of_a_jsonl_file_is_told_beside_what_else_is_wrong() -> None:
    lines = ['{"prompt": ""}', "", "{nonsense", '{"prompt": "x", "count": 0}', "42", "[" * 100_000]
    found = problems("\n".join(lines), "jsonl")
    assert [(row, column) for row, column, _ in found] == [
        (1, "prompt"),
        (2, None),
        (3, "count"),
        (4, None),
        (5, None),
    ]
    assert "line 3 is not JSON" in found[1][2]
    assert "must be a mapping of columns, or just the prompt" in found[3][2]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "\ud800"},
        {"prompt": "x", "labels": {"a": "\ud800"}},
        {"prompt": "x", "labels": {"\ud800": "a"}},
        {"prompt": "x", "settings": {"a": ["\ud800"]}},
        {"prompt": ["a", "b"]},
        {"prompt": 7},
        {"prompt": "x", "seed": True},
        {"prompt": "x", "seed": [1]},
        {"prompt": "x", "count": {}},
        {"prompt": "x", "labels": [1]},
        {"prompt": "x", "settings": "a"},
        {"prompt": "x", "provider": 7},
        {"prompt": "x", "seed": 10**400},
        {"prompt": "x", "duration": 10**400},
    ],
)
def test_values_of_a_wrong_type_are_problems_and_no_crash(record: dict[str, object]) -> None:
    found = problems(json.dumps(record), "jsonl")
    assert {row for row, _, _ in found} == {1}


def test_columns_that_are_there_twice_are_told_once() -> None:
    found = problems("prompt,seed,seed,seed\nx,1,2,3\n")
    assert found == [(None, "seed", "column 'seed': this column is there twice")]


def test_cells_without_a_column_are_told() -> None:
    assert "has 3 cells, the header has 1" in problems("prompt\na fox, red, quick\n")[0][2]
    ((row, _, message),) = problems("prompt,\na fox,red\n")
    assert (row, message) == (1, message)
    assert "a cell under a column without a name" in message


def test_an_unknown_column_is_told_once_however_many_rows_have_it() -> None:
    found = problems("prompt,colour\n" + "a,b\n" * 10)
    assert [(row, column) for row, column, _ in found] == [(1, "colour")]


def test_a_provider_that_no_row_names_is_one_problem() -> None:
    found = problems("prompt\n" + "a\n" * 500, defaults=Defaults())
    assert [(row, column) for row, column, _ in found] == [(None, "provider")]
    # A test in the same process may have registered another one.
    assert f"allowed: {', '.join(provider_names())} (or give --provider" in found[0][2]


def test_a_provider_that_one_row_lacks_is_that_row_s_problem() -> None:
    found = problems("prompt,provider\na,imaginelab\nb,\n", defaults=Defaults())
    assert [(row, column) for row, column, _ in found] == [(2, "provider")]


def test_everything_is_told_at_once_in_the_order_of_rows() -> None:
    text = """\
prompt,provider,kind,count,colour,seed,duration,seed
,aivisualstudio,image,1,,,,
{x},nobody,picture,0,red,a,-1,
fine,imaginelab,image,1,,,,
"""
    found = problems(text, defaults=Defaults())
    assert [(row, column) for row, column, _ in found] == [
        (None, "seed"),
        (1, "prompt"),
        (2, "colour"),
        (2, "prompt"),
        (2, "provider"),
        (2, "kind"),
        (2, "count"),
        (2, "duration"),
    ]


def test_a_long_list_is_cut_and_counted() -> None:
    with pytest.raises(InvalidPromptsError) as raised:
        read_whole(b"prompt,count\n" + b"a,0\n" * 80, "csv", DEFAULTS, {})
    lines = str(raised.value).splitlines()
    assert lines[0] == "80 problems in the prompts:"
    assert lines[-1] == "  … and 30 more"
    assert len(raised.value.problems) == 80


def test_what_could_be_read_is_handed_to_a_caller_that_takes_the_problems() -> None:
    taken = Problems()
    text = b"prompt,count,provider\na,0,\nb,1,nobody\nc,1,\n"
    asked = list(read_prompts(io.BytesIO(text), "csv", DEFAULTS, {}, taken))
    assert [each.request.prompt for each in asked] == ["a", "c"]
    assert [(each.row, each.column) for each in taken.found] == [(1, "count"), (2, "provider")]
