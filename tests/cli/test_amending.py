"""A prompts file that has changed: what is said before, what is paid, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell, assert_contract, assert_refused


def write(shell: Shell, name: str, prompts: Sequence[str]) -> Path:
    return shell.write(name, "".join(f"{prompt}\n" for prompt in prompts))


WORDS = ("--provider", "imaginelab", "--json")


@pytest.fixture
def here(shell: Shell, tmp_path: Path) -> Shell:
    """A folder of one's own."""
    return replace(shell, folder=tmp_path)


@pytest.fixture
def grown(here: Shell, providers: RunningSandbox) -> Path:
    """A file of which two rows are made; a third one is gone from it, and another is new."""
    providers.reset()
    first = here.run(
        "generate", write(here, "grown.txt", ["one", "two", "three"]), *WORDS, "--max-credits", "10"
    )
    assert first.code == 3, first.stderr
    assert first.last["plan"] == {"new": 3, "kept": 0, "withdrawn": 0}
    return write(here, "grown.txt", ["four", "two", "one"])


def test_the_same_command_on_a_changed_file_pays_for_what_is_new(
    here: Shell, providers: RunningSandbox, grown: Path
) -> None:
    dry = here.run("generate", grown, *WORDS, "--dry-run")
    assert (dry.code, len(providers.report()["jobs"])) == (0, 2)
    assert "batch grown: +1 items: imaginelab 5 credits; 2 kept, 1 withdrawn" in dry.stderr
    assert assert_contract(dry)["plan"] == {"new": 1, "kept": 2, "withdrawn": 1}
    made = here.run("generate", grown, *WORDS)
    assert made.code == 0, made.stderr
    assert "batch grown: +1 items: imaginelab 5 credits; 2 kept, 1 withdrawn" in made.stderr
    assert made.last["plan"] == {"new": 1, "kept": 2, "withdrawn": 1}
    assert (made.last["items"]["stored"], made.last["items"]["withdrawn"]) == (3, 1)
    assert made.last["requests"]["create"] == 1
    status = here.run("status", "grown", "--json")
    assert (status.code, status.last["items"]) == (0, made.last["items"])
    assert "3 of 4 stored, 1 withdrawn" in status.stderr
    again = here.run("generate", grown, *WORDS)
    assert again.last["plan"] == {"new": 0, "kept": 3, "withdrawn": 0}
    assert "nothing left to do" in again.stderr


def test_a_frozen_batch_is_not_amended(here: Shell, grown: Path) -> None:
    refused = assert_refused(here.run("generate", grown, *WORDS, "--frozen"), "exists with other prompts")
    assert refused["batch_id"] in ("", "grown")
    assert_refused(here.run("generate", grown, *WORDS, "--frozen", "--amend"), "--amend does not go with")


def test_another_file_of_the_same_name_amends_only_when_told_to(
    here: Shell, providers: RunningSandbox, grown: Path
) -> None:
    (here.folder / "elsewhere").mkdir(exist_ok=True)
    other = write(here, "elsewhere/grown.txt", ["five"])
    assert_refused(here.run("generate", other, *WORDS), "grown.txt and lacks 1 of these", "--amend")
    assert len(providers.report()["jobs"]) == 2
    ended = here.run("generate", other, *WORDS, "--amend")
    assert (ended.code, ended.last["plan"]) == (0, {"new": 1, "kept": 0, "withdrawn": 1})


def test_a_file_whose_prompts_use_the_date_is_a_batch_a_day(bare_shell: Shell) -> None:
    for prompts, dated in (["a fox on {date}", True], ["a fox on {weekday}", True], ["a fox", False]):
        ended = bare_shell.run(
            "generate", bare_shell.write("daily.csv", f"prompt\n{prompts}\n"), *WORDS, "--dry-run"
        )
        batch_id = assert_contract(ended)["batch_id"]
        assert batch_id.startswith("daily-20") is dated, batch_id
        assert dated or batch_id == "daily"


def test_a_column_of_that_name_is_not_the_date(bare_shell: Shell) -> None:
    file = bare_shell.write("own.csv", "prompt,date\na fox on {date},Monday\n")
    assert bare_shell.run("generate", file, *WORDS, "--dry-run").last["batch_id"] == "own"


def test_a_batch_that_the_first_edition_named_is_not_paid_for_again(here: Shell) -> None:
    """Its id tells what it holds, so that the changed file does not lead to it."""
    words = (
        "generate",
        here.write("kites.jsonl", '{"prompt": "a kite", "provider": "imaginelab"}'),
        "--json",
    )
    assert here.run(*words, "--batch-id", "kites-0123456789ab").code == 0
    refused = here.run(*words)
    assert_refused(
        refused, "'kites-0123456789ab'", "holds 1 of these 1 items", "--batch-id kites-0123456789ab"
    )
    assert here.run(*words, "--batch-id", "kites", "--dry-run").last["plan"]["new"] == 1
