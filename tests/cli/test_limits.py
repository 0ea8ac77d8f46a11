"""`limits`: what the machines share on a real Prefect server, and what this one has learned."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Ended, Shell, assert_refused

PROVIDER = "aivisualstudio"


def mine(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.stderr
    (found,) = [each for each in ended.last["limits"] if each["yours"]]
    return dict(found)


def test_a_limit_is_set_changed_and_shown(shell: Shell) -> None:
    made = mine(shell.run("limits", "--set", f"{PROVIDER}=60/10s", "--json"))
    assert (made["provider"], made["active"], made["in_use"]) == (PROVIDER, True, 0)
    assert made["limit"] + 10 * made["decay_per_second"] <= 60
    assert 300 <= made["per_minute"] <= 360

    changed = mine(shell.run("limits", PROVIDER, "--set", "30/min", "--json"))
    assert changed["key_hash"] == made["key_hash"]
    assert changed["per_minute"] <= 30

    shown = shell.run("limits").stdout.splitlines()
    (row,) = [line.split() for line in shown if made["key_hash"] in line]
    assert (row[:3], row[-2:]) == ([PROVIDER, made["key_hash"], "yours"], [str(changed["per_minute"]), "0"])
    assert any(line.startswith("imaginelab: nothing is shared") for line in shown)

    others = shell.run("limits", PROVIDER, AIVISUALSTUDIO_API_KEY="somebody-else").stdout
    (row,) = [line.split() for line in others.splitlines() if made["key_hash"] in line]
    assert row[2] == "another"
    assert "imaginelab" not in others


def words(line: str) -> list[str]:
    """A line as it is whatever its table's columns are wide, and whoever's key it shows."""
    return re.sub(r"─+", "─", re.sub(r"\b[0-9a-f]{16}\b", "HASH", line)).split()


def test_the_page_shows_what_is_printed(shell: Shell) -> None:
    page = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
    command, *lines = page.partition("$ prefect-imagine limits")[2].partition("```")[0].splitlines()
    ended = shell.run("limits", *shlex.split(command))
    assert ended.code == 0, ended.stderr
    others = [line for line in ended.stdout.splitlines() if "another" in words(line)]
    printed = [line for line in ended.stdout.splitlines() if line not in others]
    assert [words(line) for line in printed] == [words(line) for line in lines]


def test_what_this_machine_has_learned_is_told(shell: Shell, providers: RunningSandbox) -> None:
    before = shell.run("limits", "imaginelab").stdout
    assert "imaginelab on this machine: nothing learned lately" in before
    assert shell.run("balance", "imaginelab").code == 0
    told = shell.run("limits", "imaginelab", "--json").last["machine"]["imaginelab"]
    assert told != "nothing learned lately"
    printed = shell.run("limits").stdout
    assert not any(key in printed for key in providers.environment.values())


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (("--set", "60/10s"), {}, "--set needs a provider"),
        (("--set", f"{PROVIDER}=often"), {}, "is no rate"),
        (("--set", "imagineapi=1/s"), {"IMAGINEAPI_TOKEN": None}, "IMAGINEAPI_TOKEN"),
        ((), {"PREFECT_API_URL": None}, "prefect server start"),
        ((), {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "check PREFECT_API_URL"),
    ],
)
def test_what_cannot_be_done_is_said(
    shell: Shell, words: tuple[str, ...], environment: dict[str, str | None], says: str
) -> None:
    assert_refused(shell.run("limits", *words, "--json", **environment), says)
