"""`find`: a file is traced to its batch and item, without Prefect and without keys."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.sandbox.server.s3 import S3Server
from tests.cli.commands import Ended, Shell, assert_refused

LINES = [
    {
        "prompt": f"picture {number}",
        "provider": "imaginelab",
        "name": f"pic-{number}",
        "labels": {"team": "a"},
    }
    for number in range(1, 5)
]


@pytest.fixture(scope="module")
def batch(shell: Shell) -> Path:
    """A batch of four stored pictures."""
    prompts = shell.write("traced.jsonl", "\n".join(map(json.dumps, LINES)))
    ended = shell.run("generate", prompts, "--json")
    assert ended.code == 0, ended.stderr
    return shell.folder / "outputs" / "traced"


@pytest.fixture
def copy(batch: Path, tmp_path: Path) -> Path:
    """The same batch alone under another root."""
    root = tmp_path / "root"
    shutil.copytree(batch.parent / ".imagine", root / ".imagine")
    shutil.copytree(batch, root / "traced")
    return root


def manifest_of(batch: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (batch / "manifest.jsonl").read_text().splitlines()]


def sought(keyless: Shell, what: str | Path, root: Path, *more: str) -> Ended:
    return keyless.run("find", what, "--output", root, *more)


def test_a_file_is_found_wherever_it_lies(batch: Path, keyless: Shell, tmp_path: Path) -> None:
    line = manifest_of(batch)[2]
    (output,) = line["outputs"]
    moved = shutil.copy(batch / output["key"], tmp_path / "poster.png")
    ended = sought(keyless, moved, batch.parent, "--json")
    assert ended.code == 0, ended.stderr
    (found,) = ended.last["found"]
    assert found == {
        "batch_id": "traced",
        **{name: line[name] for name in ("index", "item_id", "name", "request", "status", "credits")},
        **{name: line[name] for name in ("created_at", "stored_at")},
        "job": line["id"],
        "key": f"traced/{output['key']}",
        "address": f"{batch}/{output['key']}",
        "sha256": output["sha256"],
    }
    assert (ended.last["error"], ended.last["left_out"]) == (None, [])
    assert ended.last["sha256"] == output["sha256"]
    shown = sought(keyless, moved, batch.parent).stdout
    for text in ("batch traced, item 3 (pic-3)", "picture 3", "imaginelab image", line["id"], "  credits  5"):
        assert text in shown


def test_a_prompt_does_nothing_to_a_terminal(copy: Path, keyless: Shell) -> None:
    lines = manifest_of(copy / "traced")
    lines[1]["request"]["prompt"] = "red \x1b[2J\nbatch forged, item 1"
    (copy / "traced" / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    shown = sought(keyless, lines[1]["outputs"][0]["sha256"], copy).stdout
    assert "\x1b" not in shown
    assert len([line for line in shown.splitlines() if line.startswith("batch ")]) == 1


def test_a_long_prompt_is_shown_shortened_and_told_whole(copy: Path, keyless: Shell) -> None:
    lines = manifest_of(copy / "traced")
    lines[1]["request"]["prompt"] = long = "tall trees, " * 400
    (copy / "traced" / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    digest = lines[1]["outputs"][0]["sha256"]
    shown = sought(keyless, digest, copy).stdout
    assert max(map(len, shown.splitlines())) < 500
    assert "tall trees, tall" in shown
    assert sought(keyless, digest, copy, "--json").last["found"][0]["request"]["prompt"] == long


def test_digits_find_it_too_and_nothing_is_exit_1(batch: Path, keyless: Shell, tmp_path: Path) -> None:
    digest = manifest_of(batch)[0]["outputs"][0]["sha256"]
    for digits in (digest, digest[:8], digest[:12].upper()):
        ended = sought(keyless, digits, batch.parent, "--json")
        assert [each["index"] for each in ended.last["found"]] == [1]
    other = tmp_path / "other.png"
    other.write_bytes(b"nobody made this")
    ended = sought(keyless, other, batch.parent, "--json")
    assert (ended.code, ended.last["found"]) == (1, [])
    assert "no output under" in ended.last["error"]
    assert_refused(sought(keyless, "abc1234", batch.parent, "--json"), "neither a file nor a sha256")


def test_thumbnails_and_books_are_no_outputs(batch: Path, keyless: Shell) -> None:
    assert sought(keyless, batch / "manifest.jsonl", batch.parent).code == 1


@pytest.mark.parametrize("damage", ["gone", "cut short", "old"])
def test_shards_tell_what_a_manifest_lacks(copy: Path, keyless: Shell, damage: str) -> None:
    batch = copy / "traced"
    lines = (batch / "manifest.jsonl").read_text().splitlines(keepends=True)
    digest = json.loads(lines[3])["outputs"][0]["sha256"]
    if damage == "gone":
        (batch / "manifest.jsonl").unlink()
    elif damage == "cut short":
        (batch / "manifest.jsonl").write_text("".join(lines)[:-200])
    else:
        planned = {**json.loads(lines[3]), "status": "planned", "outputs": []}
        (batch / "manifest.jsonl").write_text("".join(lines[:3]) + json.dumps(planned) + "\n")
    ended = sought(keyless, digest, copy, "--json")
    assert [each["index"] for each in ended.last["found"]] == [4], ended


def test_a_batch_that_cannot_be_read_is_told_and_left_out(copy: Path, keyless: Shell) -> None:
    shutil.copytree(copy / "traced", copy / "broken")
    (copy / "broken" / "plan.jsonl").write_text("{")
    digest = manifest_of(copy / "traced")[0]["outputs"][0]["sha256"]
    ended = sought(keyless, digest, copy, "--all", "--json")
    assert ended.code == 0
    assert [each["batch_id"] for each in ended.last["found"]] == ["traced"]
    assert [each["batch_id"] for each in ended.last["left_out"]] == ["broken"]
    assert any("broken cannot be read and is left out" in line for line in ended.errors)


def test_a_batch_under_way_is_looked_at_by_its_shards(shell: Shell, keyless: Shell) -> None:
    lines = [{"prompt": f"half {number}", "provider": "imaginelab"} for number in range(4)]
    prompts = shell.write("half.jsonl", "\n".join(map(json.dumps, lines)))
    assert shell.run("generate", prompts, "--max-credits", "10", "--json").code == 3
    folder = shell.folder / "outputs" / "half"
    stored = sorted((folder / "outputs").iterdir())
    assert len(stored) == 2
    (folder / "manifest.jsonl").unlink()
    ended = sought(keyless, stored[1], folder.parent, "--json")
    assert [each["batch_id"] for each in ended.last["found"]] == ["half"]


def test_a_bucket_is_looked_through_too(
    shell: Shell, bucket: str, s3_server: S3Server, tmp_path: Path
) -> None:
    prompts = shell.write("stored.jsonl", json.dumps(LINES[0]))
    root = f"s3://{bucket}/art"
    assert shell.run("generate", prompts, "--output", root, "--json").code == 0
    with closing(s3_server.client()) as client:
        line = json.loads(client.get_object(Bucket=bucket, Key="art/stored/manifest.jsonl")["Body"].read())
        (output,) = line["outputs"]
        client.download_file(bucket, f"art/stored/{output['key']}", str(tmp_path / "saved.png"))
    ended = shell.run("find", tmp_path / "saved.png", "--output", root, "--json")
    assert ended.code == 0, ended
    (found,) = ended.last["found"]
    assert (found["job"], found["address"]) == (line["id"], f"{root}/stored/{output['key']}")
