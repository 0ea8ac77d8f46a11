"""`generate`: every format, defaults, names, the obvious re-run, and what people see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Ended, Shell, assert_contract, requests

FORMATS = {
    "csv": "prompt,name\na {name} in snow,fox\nan owl,\n",
    "jsonl": '{"prompt": "a {name} in snow", "name": "fox"}\n"an owl"\n',
    "yaml": "- prompt: a {name} in snow\n  name: fox\n- an owl\n",
    "txt": "a fox in snow\nan owl\n",
}


@pytest.fixture(scope="module", params=[*FORMATS, "-"])
def run(request: pytest.FixtureRequest, shell: Shell, providers: RunningSandbox) -> Ended:
    """A small run of a file in each format, and of standard input."""
    providers.reset()
    words: Sequence[str | Path] = ("--provider", "aivisualstudio", "--json")
    if request.param == "-":
        ended = shell.run("generate", "-", "--format", "jsonl", *words, stdin=FORMATS["jsonl"])
    else:
        file = shell.write(f"two prompts.{request.param}", FORMATS[request.param])
        ended = shell.run("generate", file, *words)
    assert ended.code == 0, ended.stderr
    return ended


def test_each_format_is_generated(run: Ended, providers: RunningSandbox, shell: Shell) -> None:
    found = assert_contract(run)
    jobs = providers.report()["jobs"]
    assert sorted(job["prompt"] for job in jobs) == ["a fox in snow", "an owl"]
    assert found["items"]["stored"] == found["requests"]["create"] == 2
    assert found["credits"] == {"charged": 10, "estimated": 0}
    outputs = shell.folder / "outputs" / found["batch_id"] / "outputs"
    assert len(list(outputs.glob("*.png"))) + len(list(outputs.glob("*.webp"))) == 2


def test_the_batch_is_named_after_the_file(run: Ended) -> None:
    stem, _, hashed = run.last["batch_id"].rpartition("-")
    assert stem in ("two-prompts", "stdin")
    assert len(hashed) == 12


def test_stdout_is_for_the_script_and_stderr_for_people(run: Ended) -> None:
    assert run.stdout.count("\n") == 1
    assert "2 of 2 stored" in run.stderr
    assert run.last["report"] in run.stderr


MIXED = """\
prompt,provider,kind,model
its own,imaginelab,text,scribe-3-mini
the flags',,,
"""


@pytest.fixture(scope="module")
def mixed(shell: Shell, providers: RunningSandbox) -> Ended:
    providers.reset()
    flags = ("--provider", "aivisualstudio", "--kind", "video", "--model", "minimax/hailuo-2.3-fast")
    return shell.run("generate", shell.write("mixed.csv", MIXED), *flags, "--batch-id", "my.batch_1")


def test_a_row_s_own_column_beats_the_flag(mixed: Ended, providers: RunningSandbox) -> None:
    assert mixed.code == 0, mixed.stderr
    jobs = {job["prompt"]: (job["provider"], job["kind"], job["model"]) for job in providers.report()["jobs"]}
    assert jobs == {
        "its own": ("imaginelab", "text", "scribe-3-mini"),
        "the flags'": ("aivisualstudio", "video", "minimax/hailuo-2.3-fast"),
    }


def test_a_person_gets_a_table_and_the_way_to_the_report(mixed: Ended, shell: Shell) -> None:
    lines = mixed.stdout.splitlines()
    assert lines[0] == "Batch my.batch_1"
    assert lines[1].split() == ["provider", "kind", "model", "items", "credits", "seconds"]
    cells = [line.split() for line in lines[3:5]]
    assert [row[:5] for row in cells] == [
        ["imaginelab", "text", "scribe-3-mini", "1", "2"],
        ["aivisualstudio", "video", "minimax/hailuo-2.3-fast", "1", "450"],
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
    assert "batch 'my.batch_1' exists with other prompts (2 items)" in assert_contract(ended)["error"]
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
    assert found["items"] == {"total": 4, "stored": 0, "failed": 0, "unknown": 0, "planned": 4}
    assert (found["credits"], found["unpriced_items"]) == ({"charged": 0, "estimated": 15}, 1)
    assert providers.report()["jobs"] == []
    assert not (bare_shell.folder / "outputs").exists()
    assert "Estimate: nothing was created" in estimate.stderr


def test_a_dry_run_of_a_batch_that_exists_estimates_what_is_left(shell: Shell, mixed: Ended) -> None:
    flags = ("--provider", "aivisualstudio", "--kind", "video", "--model", "minimax/hailuo-2.3-fast")
    words = (
        "generate",
        shell.folder / "mixed.csv",
        *flags,
        "--batch-id",
        "my.batch_1",
        "--dry-run",
        "--json",
    )
    ended = shell.run(*words)
    assert ended.code == 0
    assert ended.last["items"]["stored"] == 2
    assert ended.last["credits"]["estimated"] == 0


def test_prompts_and_output_may_lie_in_a_bucket(shell: Shell, bucket: str) -> None:
    import boto3

    environment = shell.environment
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )
    client.put_object(Bucket=bucket, Key="in/some.txt", Body=b"a heron\n")
    client.close()
    words = (
        "--provider",
        "imagineapi",
        "--price",
        "imagineapi=1",
        "--output",
        f"s3://{bucket}/out/",
        "--json",
    )
    ended = shell.run("generate", f"s3://{bucket}/in/some.txt", *words)
    assert ended.code == 0, ended.stderr
    batch_id = ended.last["batch_id"]
    assert batch_id.startswith("some-")
    assert ended.last["manifest"] == f"s3://{bucket}/out/{batch_id}/manifest.jsonl"
