"""`generate`: every format, defaults, names, the obvious re-run, and what people see."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from tests.cli.commands import Ended, Shell, assert_contract, requests

FORMATS = {
    "csv": "prompt,animal\na {animal} in snow,fox\nan owl,\n",
    "jsonl": '{"prompt": "a {animal} in snow", "animal": "fox"}\n"an owl"\n',
    "yaml": "- prompt: a {animal} in snow\n  animal: fox\n- an owl\n",
    "txt": "a fox in snow\nan owl\n",
}
ONE_BATCH = ("--provider", "aivisualstudio", "--batch-id", "formats", "--json")


@pytest.fixture(scope="module")
def from_csv(shell: Shell, providers: RunningSandbox) -> Ended:
    providers.reset()
    process = shell.start("generate", shell.write("two.csv", FORMATS["csv"]), *ONE_BATCH)
    return shell.end(process)


def test_a_file_is_generated(from_csv: Ended, providers: RunningSandbox) -> None:
    assert from_csv.code == 0, from_csv.stderr
    found = assert_contract(from_csv)
    assert sorted(job["prompt"] for job in providers.report()["jobs"]) == ["a fox in snow", "an owl"]
    assert found["items"]["stored"] == found["requests"]["create"] == 2
    assert found["credits"] == {"charged": 10, "estimated": 0}
    outputs = list((Path(found["manifest"]).parent / "outputs").iterdir())
    assert {file.suffix for file in outputs} <= {".png", ".webp"}
    assert len(outputs) == 2


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_prompts_in_any_format_are_the_same_batch(
    from_csv: Ended, shell: Shell, file_format: str
) -> None:
    file = shell.write(f"two.{file_format}", FORMATS[file_format])
    piped = shell.run("generate", "-", "--format", file_format, *ONE_BATCH, stdin=FORMATS[file_format])
    for ended in (shell.run("generate", file, *ONE_BATCH), piped):
        assert ended.code == 0, ended.stderr
        assert ended.last["items"] == from_csv.last["items"]
        assert ended.last["requests"]["create"] == 0
        assert "batch formats has nothing left to do" in ended.stderr


def test_stdout_is_for_the_script_and_stderr_for_people(from_csv: Ended) -> None:
    assert from_csv.stdout.count("\n") == 1
    assert "2 of 2 stored" in from_csv.stderr
    assert from_csv.last["report"] in from_csv.stderr


@pytest.mark.parametrize(
    ("name", "stem"), [("my file.v2.txt", "my-file.v2"), ("größe.txt", "gr-e"), ("-.txt", "batch")]
)
def test_a_batch_is_named_after_its_file(bare_shell: Shell, name: str, stem: str) -> None:
    file = bare_shell.write(name, "an owl\n")
    ended = bare_shell.run("generate", file, "--provider", "imaginelab", "--dry-run", "--json")
    assert assert_contract(ended)["batch_id"] == stem
    again = bare_shell.run("generate", file, "--provider", "imaginelab", "--dry-run", "--json", "--again")
    assert re.fullmatch(rf"{re.escape(stem)}-[0-9a-f]{{6}}", again.last["batch_id"])


MIXED = """\
prompt,provider,kind,model
its own,imaginelab,text,scribe-3-mini
the flags',,,
"""
FLAGS = ("--provider", "imagineapi", "--kind", "image", "--model", "midjourney")


@pytest.fixture(scope="module")
def mixed(shell: Shell, providers: RunningSandbox) -> Ended:
    providers.reset()
    file = shell.write("mixed.csv", MIXED)
    return shell.watch("generate", file, *FLAGS, "--price", "imagineapi=0.5", "--batch-id", "my.batch_1")


def test_a_person_sees_progress(mixed: Ended) -> None:
    assert "Traceback" not in mixed.stderr
    assert "stored" in mixed.stderr
    assert "2/2" in mixed.stderr


def test_a_row_s_own_column_beats_the_flag(mixed: Ended, providers: RunningSandbox) -> None:
    assert mixed.code == 0, mixed.stderr
    jobs = {job["prompt"]: (job["provider"], job["kind"], job["model"]) for job in providers.report()["jobs"]}
    assert jobs == {
        "its own": ("imaginelab", "text", "scribe-3-mini"),
        "the flags'": ("imagineapi", "image", "midjourney"),
    }


def test_a_person_gets_a_table_and_the_way_to_the_report(mixed: Ended, shell: Shell) -> None:
    lines = mixed.stdout.splitlines()
    assert lines[0] == "Batch my.batch_1"
    assert lines[1].split() == ["provider", "kind", "model", "items", "credits", "seconds"]
    cells = [line.split() for line in lines[3:5]]
    assert [row[:5] for row in cells] == [
        ["imaginelab", "text", "scribe-3-mini", "1", "2"],
        ["imagineapi", "image", "midjourney", "1", "0.5"],
    ]
    assert "2 of 2 stored" in lines
    assert "imaginelab: 100000 credits before, 99998 after" in mixed.stdout
    assert lines[-1] == f"report: {shell.folder}/outputs/my.batch_1/report.html"


def test_a_batch_of_one_s_own_name_takes_no_other_prompts(
    mixed: Ended, shell: Shell, providers: RunningSandbox
) -> None:
    before = requests(providers)
    other = shell.write("other.txt", "something else\n")
    ended = shell.run("generate", other, "--provider", "imaginelab", "--batch-id", "my.batch_1", "--json")
    assert ended.code == 2
    assert "batch 'my.batch_1' was made from" in assert_contract(ended)["error"]
    assert "lacks 1 of these prompts: choose another one with --batch-id, or make it hold" in ended.stderr
    assert requests(providers) == before


def test_again_makes_a_new_batch_of_the_same_prompts(shell: Shell, providers: RunningSandbox) -> None:
    providers.reset()
    words = ("generate", shell.write("one.txt", "a hare\n"), "--provider", "blockadelabs", "--json")
    price = ("--price", "blockadelabs:stable-skybox=2.5")
    first = shell.run(*words, *price)
    same = shell.run(*words)
    new = shell.run(*words, "--again")
    assert [each.code for each in (first, same, new)] == [0, 0, 0]
    assert same.last["batch_id"] == first.last["batch_id"]
    assert same.last["requests"]["create"] == 0
    assert new.last["batch_id"].startswith(f"{first.last['batch_id']}-")
    assert len(providers.report()["jobs"]) == 2
    assert (first.last["credits"], first.last["unpriced_items"]) == ({"charged": 0, "estimated": 2.5}, 0)
    assert (new.last["credits"], new.last["unpriced_items"]) == ({"charged": 0, "estimated": 0}, 1)
    assert "1 items have no price: set one with --price" in new.stderr


@pytest.fixture(scope="module")
def estimate(bare_shell: Shell, providers: RunningSandbox) -> Ended:
    """A dry run, where there is no Prefect server."""
    providers.reset()
    lines = [{"prompt": "x", "provider": "imaginelab", "count": 3}, {"prompt": "y", "provider": "imagineapi"}]
    file = bare_shell.write("dry.jsonl", "\n".join(map(json.dumps, lines)))
    return bare_shell.run("generate", file, "--dry-run", "--json")


def test_a_dry_run_estimates_and_creates_nothing(
    estimate: Ended, bare_shell: Shell, providers: RunningSandbox
) -> None:
    assert estimate.code == 0, estimate.stderr
    found = assert_contract(estimate)
    assert found["items"] == {
        "total": 4,
        "stored": 0,
        "failed": 0,
        "unknown": 0,
        "under_way": 0,
        "planned": 4,
        "withdrawn": 0,
    }
    assert (found["credits"], found["unpriced_items"]) == ({"charged": 0, "estimated": 15}, 1)
    assert providers.report()["jobs"] == []
    assert not (bare_shell.folder / "outputs").exists()
    assert "Estimate: nothing was created" in estimate.stderr


def test_a_dry_run_of_a_batch_that_exists_estimates_what_is_left(shell: Shell, mixed: Ended) -> None:
    words = ("generate", shell.folder / "mixed.csv", *FLAGS, "--batch-id", "my.batch_1")
    ended = shell.run(*words, "--dry-run", "--json")
    assert ended.code == 0
    assert ended.last["items"]["stored"] == 2
    assert ended.last["credits"]["estimated"] == 0
    assert ended.stderr == "batch my.batch_1: nothing is left to create\n"
    assert shell.run(*words, "--dry-run").stdout == "batch my.batch_1: nothing is left to create\n"


def test_prompts_and_output_may_lie_in_a_bucket(shell: Shell, s3_server: S3Server, bucket: str) -> None:
    with closing(s3_server.client()) as client:
        client.put_object(Bucket=bucket, Key="in/some.txt", Body=b"a heron\n")
    words = ("--provider", "imagineapi", "--output", f"s3://{bucket}/out/", "--dry-run", "--json")
    ended = shell.run("generate", f"s3://{bucket}/in/some.txt", *words)
    assert ended.code == 0, ended.stderr
    batch_id = ended.last["batch_id"]
    assert batch_id == "some"
    assert ended.last["manifest"] == f"s3://{bucket}/out/{batch_id}/manifest.jsonl"
