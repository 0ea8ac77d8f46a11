"""Prompts files: every format and column, and what templates make of them."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.errors import ConfigurationError, PromptFileError
from prefect_imagine.prompts.formats import Problems, format_of
from prefect_imagine.prompts.requested import (
    Defaults,
    Prompt,
    RequestedItem,
    ask,
    prompts_to_rows,
)
from prefect_imagine.prompts.source import asked_in, copy_of, open_source
from prefect_imagine.prompts.spool import Spool, providers_of
from prefect_imagine.prompts.templates import variables
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.on_refusal import OnRefusal
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores.s3 import S3Store
from tests.prompts.reading import read_whole

AT = datetime(2025, 3, 1, 23, 59, tzinfo=UTC)
DEFAULTS = Defaults(provider="aivisualstudio")


def read(text: str | bytes, file_format: str, defaults: Defaults = DEFAULTS) -> list[RequestedItem]:
    data = text.encode() if isinstance(text, str) else text
    return read_whole(data, file_format, defaults, variables(AT))


def prompts(text: str | bytes, file_format: str) -> list[str]:
    return [each.request.prompt for each in read(text, file_format)]


def test_what_to_do_upon_a_refusal_is_read_from_the_row_or_from_the_run() -> None:
    defaults = Defaults(provider="aivisualstudio", on_refusal=OnRefusal(reseed=1))
    table = 'prompt,on_refusal\na,\nb,fail\nc,"fallback: [imaginelab, imagineapi:mj-6]; reseed: 2"\n'
    both = OnRefusal(reseed=2, fallback=("imaginelab", "imagineapi:mj-6"))
    asked = read(table, "csv", defaults)
    assert [each.on_refusal for each in asked] == [defaults.on_refusal, OnRefusal(), both]
    yaml = "- {prompt: a, on_refusal: {fallback: blockadelabs, moderation: true}}"
    [item] = read(yaml, "yaml")
    assert item.on_refusal == OnRefusal(fallback=("blockadelabs",), moderation=True)
    [row] = ask(prompts_to_rows([Prompt(prompt="a", on_refusal=both)]), DEFAULTS, None)
    assert row.on_refusal == both
    assert list(Spool(asked)) == [replace(each, known=each.fingerprint) for each in asked]
    assert providers_of(Spool(asked)) == ["aivisualstudio", "imaginelab", "imagineapi"]


def test_a_fallback_gets_what_means_the_same_everywhere() -> None:
    cells = {"seed": 7, "aspect_ratio": "16:9", "settings.quality": "high"}
    row = {"prompt": "a", **cells, "on_refusal": "fallback: [imaginelab:flux, aivisualstudio:x]"}
    [item] = ask([(1, row)], DEFAULTS, None)
    lab, own = item.fallbacks
    assert (lab.provider, lab.model, lab.settings) == ("imaginelab", "flux", {"aspect_ratio": "16:9"})
    assert (own.model, own.settings) == ("x", {"aspect_ratio": "16:9", "quality": "high"})
    assert item.fingerprint == ask([(1, {"prompt": "a", **cells})], DEFAULTS, None)[0].fingerprint


EVERYTHING = {
    "prompt": "a fox",
    "provider": "imaginelab",
    "kind": "video",
    "model": "m1",
    "count": 2,
    "name": "my fox",
    "seed": 7,
    "negative_prompt": "text",
    "aspect_ratio": "16:9",
    "duration": 2.5,
    "labels": {"campaign": "spring", "team": "a"},
    "settings": {"quality": "high", "steps": 30, "tags": ["x", "y"], "hd": True},
}
DOTTED = {
    **{name: value for name, value in EVERYTHING.items() if name not in ("labels", "settings")},
    "labels.campaign": "spring",
    "labels.team": "a",
    "settings.quality": "high",
    "settings.steps": 30,
    "settings.tags": ["x", "y"],
    "settings.hd": True,
}
AS_CSV = """\
prompt,provider,kind,model,count,name,seed,negative_prompt,aspect_ratio,duration,\
labels.campaign,labels.team,settings.quality,settings.steps,settings.tags,settings.hd
a fox,imaginelab,video,m1,2,my fox,7,text,16:9,2.5,spring,a,high,30,"[""x"", ""y""]",true
"""
AS_YAML = """\
prompts:
  - prompt: a fox
    provider: imaginelab
    kind: video
    model: m1
    count: 2
    name: my fox
    seed: 7
    negative_prompt: text
    aspect_ratio: "16:9"
    duration: 2.5
    labels: {campaign: spring, team: a}
    settings:
      quality: high
      steps: 30
      tags: [x, y]
      hd: true
"""


@pytest.mark.parametrize(
    ("text", "file_format"),
    [
        pytest.param(AS_CSV, "csv", id="csv"),
        pytest.param(json.dumps(EVERYTHING), "jsonl", id="jsonl nested"),
        pytest.param(json.dumps(DOTTED), "jsonl", id="jsonl dotted"),
        pytest.param(AS_YAML, "yaml", id="yaml"),
    ],
)
def test_every_column_says_the_same_in_every_format(text: str, file_format: str) -> None:
    first, second = read(text, file_format)
    assert first == second
    assert first.name == "my-fox"
    request = first.request
    assert (request.provider, request.kind, request.model) == ("imaginelab", GenerationKind.VIDEO, "m1")
    assert request.labels == {"campaign": "spring", "team": "a"}
    assert request.settings == {
        "seed": 7,
        "negative_prompt": "text",
        "aspect_ratio": "16:9",
        "duration": 2.5,
        "quality": "high",
        "steps": 30,
        "tags": ["x", "y"],
        "hd": True,
    }


def test_a_flow_s_prompts_read_like_a_file_s() -> None:
    asked = ask(prompts_to_rows([Prompt.model_validate(EVERYTHING)]), Defaults(), {})
    assert asked == read(AS_CSV, "csv")


@pytest.mark.parametrize(
    ("text", "file_format"),
    [
        ("prompt\nä\n日本\n", "csv"),
        ('{"prompt": "ä"}\n"日本"\n', "jsonl"),
        ("- ä\n- prompt: 日本\n", "yaml"),
        ("ä\n日本\n", "txt"),
    ],
)
def test_marks_line_ends_and_blank_lines_do_not_matter(text: str, file_format: str) -> None:
    plain = text.encode()
    assert prompts(plain, file_format) == ["ä", "日本"]
    assert prompts(b"\xef\xbb\xbf" + plain, file_format) == ["ä", "日本"]
    assert prompts(plain.replace(b"\n", b"\r\n"), file_format) == ["ä", "日本"]
    assert prompts(plain.rstrip(b"\n"), file_format) == ["ä", "日本"]
    assert prompts(plain.replace(b"\n", b"\n\n"), file_format) == ["ä", "日本"]
    assert prompts(b"\n" + plain, file_format) == ["ä", "日本"]


def test_blank_lines_are_not_counted_as_rows() -> None:
    rows = [each.row for each in read("prompt,count\nfirst,2\n\n ,\nsecond,1\n", "csv")]
    assert rows == [1, 1, 2]


def test_a_quoted_prompt_may_hold_commas_quotes_and_line_ends() -> None:
    text = 'prompt,name\n"a ""red"" fox,\r\nrunning",fox\n'
    (asked,) = read(text, "csv")
    assert (asked.request.prompt, asked.name) == ('a "red" fox,\r\nrunning', "fox")


def test_empty_and_missing_cells_are_absent() -> None:
    text = "prompt,model,seed,labels.a,settings.b,count,,\na fox, ,,,,,,\na hen\na cow,,,,,,,,,\n"
    for asked in read(text, "csv"):
        request = asked.request
        assert (request.model, request.settings, request.labels) == (None, {}, {})
    assert read('{"prompt": "x", "seed": null, "labels": {"a": null}, "settings": null}', "jsonl") == read(
        "x", "txt"
    )


def test_only_line_ends_end_a_line() -> None:
    odd = "snow\u2028and\x0bice\x85fox"
    assert prompts(f"{odd}\nb", "txt") == [odd, "b"]
    assert prompts(json.dumps({"prompt": odd}, ensure_ascii=False), "jsonl") == [odd]


def test_text_cells_become_what_json_has_for_them() -> None:
    header = "prompt," + ",".join(f"settings.{name}" for name in "abcdefg")
    cells = ["1", "-2.5", "true", "007", '"{""k"": 1}"', "tall", "null"]
    (asked,) = read(f"{header}\nx,{','.join(cells)}\n", "csv")
    assert asked.request.settings == {
        "a": 1,
        "b": -2.5,
        "c": True,
        "d": "007",
        "e": {"k": 1},
        "f": "tall",
        "g": "null",
    }


def test_what_yaml_reads_as_a_date_is_kept_as_text() -> None:
    (asked,) = read("- {prompt: x, settings: {start: 2025-03-01}, labels: {day: 2025-03-01}}", "yaml")
    assert asked.request.settings == {"start": "2025-03-01"}
    assert asked.request.labels == {"day": "2025-03-01"}


def test_a_yaml_file_may_say_once_what_its_rows_share() -> None:
    shared = "base: &base {model: m1, settings: {style: " + "long " * 100 + "}}\n"
    rows = "".join(f"  - {{prompt: prompt number {n}, <<: *base}}\n" for n in range(1000))
    asked = read(f"{shared}prompts:\n{rows}", "yaml")
    assert {each.request.model for each in asked} == {"m1"}
    assert {each.request.settings["style"] for each in asked} == {("long " * 100).strip()}
    assert len(asked) == 1000


def test_rows_beat_the_run_s_defaults() -> None:
    text = "prompt,provider,kind,model\na,,,\nb,imaginelab,video,m1\n"
    first, second = read(text, "csv", Defaults("aivisualstudio", "image", "m0"))
    assert (first.request.provider, first.request.kind, first.request.model) == (
        "aivisualstudio",
        "image",
        "m0",
    )
    assert (second.request.provider, second.request.kind, second.request.model) == (
        "imaginelab",
        "video",
        "m1",
    )


def test_names_of_providers_and_kinds_may_be_written_in_capitals() -> None:
    (asked,) = read("prompt,provider,kind\nx, AIVisualStudio ,Image\n", "csv")
    assert (asked.request.provider, asked.request.kind) == ("aivisualstudio", "image")


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("a {colour} fox", "a red fox"),
        ("a { colour } fox", "a red fox"),
        ("{{colour}} and {colour}", "{colour} and red"),
        ("{labels.team}/{settings.steps}/{count}", "blue/30/1"),
        ("{date}, a {weekday}", "2025-03-01, a Saturday"),
        ("{farbe}", "rot {nicht noch einmal}"),
        ("100 % {colour} $x \\n", "100 % red $x \\n"),
    ],
)
def test_templates_are_filled_from_the_other_columns(template: str, prompt: str) -> None:
    row = {
        "prompt": template,
        "colour": "red",
        "farbe": "rot {nicht noch einmal}",
        "labels.team": "blue",
        "settings.steps": 30,
        "count": 1,
    }
    users = {"prompt": "{colour} {farbe}", "colour": "x", "farbe": "y"}  # so that no column is unknown
    lines = "\n".join(json.dumps(each) for each in (row, users))
    assert prompts(lines, "jsonl")[0] == prompt


def test_a_column_that_some_row_s_template_uses_is_known() -> None:
    text = "prompt,colour\na {colour} fox,red\na plain fox,blue\n"
    assert prompts(text, "csv") == ["a red fox", "a plain fox"]


def test_a_text_file_is_no_template() -> None:
    lines = ["{not} a {{template}}", "a lone } brace", "prompt,provider"]
    assert prompts("\n".join(lines), "txt") == lines


def test_a_column_of_one_s_own_beats_a_variable() -> None:
    assert prompts("prompt,date\n{date},never\n", "csv") == ["never"]


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.b.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.yml", "yaml"),
        ("a.yaml", "yaml"),
        ("s3://bucket/a.txt", "txt"),
    ],
)
def test_a_name_tells_the_format(name: str, file_format: str) -> None:
    assert format_of(name) == file_format


@pytest.mark.parametrize("name", ["a", "a.xlsx", "csv", "folder.csv/a", ""])
def test_a_name_that_tells_no_format_is_refused(name: str) -> None:
    with pytest.raises(PromptFileError, match="--format"):
        format_of(name)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("two words", "two-words"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c", "a-b-c"),
        ("größe", "größe"),
        ("x" * 500, "x" * 160),
        ("𠜎" * 100, "𠜎" * 40),
        (12, "12"),
    ],
)
def test_a_name_is_one_that_files_can_have(name: Any, kept: str) -> None:
    (asked,) = read(json.dumps({"prompt": "x", "name": name}), "jsonl")
    assert asked.name == kept


def test_what_is_asked_has_a_stable_fingerprint_that_labels_and_names_belong_to() -> None:
    same = [read("prompt,labels.a\nx,1\n", "csv")[0], read('{"prompt": "x", "labels": {"a": 1}}', "jsonl")[0]]
    assert same[0].fingerprint == same[1].fingerprint
    others = ["x,2,", "x,1,n", "y,1,"]
    found = {read(f"prompt,labels.a,name\n{row}\n", "csv")[0].fingerprint for row in others}
    assert len(found | {same[0].fingerprint}) == 4


def test_a_template_means_the_same_all_day() -> None:
    """Else the obvious re-run would make, and pay for, a new batch."""
    assert variables(AT) == variables(AT.replace(hour=0, minute=1, second=2))


def test_a_source_is_a_file_or_an_object(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a fox\n")
    [asked] = asked_in(str(file), None, DEFAULTS, variables(AT), Problems())
    assert asked.request.prompt == "a fox"
    with pytest.raises(ConfigurationError, match="No such file"):
        open_source(str(tmp_path / "none.csv"))
    with pytest.raises(ConfigurationError, match="Is a directory"):
        open_source(str(tmp_path))


TOO_LARGE = "is larger than 8 MiB: split it"
EIGHT = 8 * 1024**2


def test_a_source_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ConfigurationError, match=f"/dev/zero {TOO_LARGE}"):
        open_source("/dev/zero", EIGHT)
    with open("/dev/zero", "rb") as endless, pytest.raises(ConfigurationError, match=f"a pipe {TOO_LARGE}"):
        copy_of(endless, "a pipe", EIGHT)


def test_an_object_that_is_too_large_is_refused_unread(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = aws.make_bucket()
    with closing(aws.client()) as client:
        client.put_object(Bucket=bucket, Key="in/a.txt", Body=b"a fox")
    for reads in ("read", "pieces"):
        monkeypatch.setattr(S3Store, reads, lambda store, key: pytest.fail("it was read"))
    with pytest.raises(ConfigurationError, match=rf"s3://{bucket}/in/a\.txt is larger than"):
        open_source(f"s3://{bucket}/in/a.txt", largest=4)


def test_a_large_s3_source_is_never_held_whole(aws: S3Server) -> None:
    bucket = aws.make_bucket()
    size = 96 * 1024**2
    with closing(aws.client()) as client:
        client.put_object(Bucket=bucket, Key="in/a.txt", Body=b"a fox\n" * (size // 6))
    tracemalloc.start()
    try:
        with open_source(f"s3://{bucket}/in/a.txt") as file:
            assert file.seek(0, 2) == size // 6 * 6
            assert tracemalloc.get_traced_memory()[1] < size / 3
    finally:
        tracemalloc.stop()


def test_an_s3_source_is_read_from_its_bucket(aws: S3Server) -> None:
    bucket = aws.make_bucket()
    with closing(aws.client()) as client:
        client.put_object(Bucket=bucket, Key="in/a.txt", Body=b"a fox")
    with open_source(f"s3://{bucket}/in/a.txt") as file:
        assert file.read() == b"a fox"
    with pytest.raises(ConfigurationError, match=rf"there is no s3://{bucket}/in/b\.txt"):
        open_source(f"s3://{bucket}/in/b.txt")
    with pytest.raises(ConfigurationError, match="create the bucket"):
        open_source("s3://prompts-nowhere/in/b.txt")
