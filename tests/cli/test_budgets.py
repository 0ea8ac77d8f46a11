"""`budget set|list|remove`, and what a run says that a budget has stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell, assert_contract

THREE = "a fox\nan owl\na hare\n"
MINE = ("--provider", "aivisualstudio", "--json")


@pytest.fixture(autouse=True)
def fresh(shell: Shell, providers: RunningSandbox) -> Iterator[None]:
    """No budget is left to other tests, which store in the same folder."""
    providers.reset()
    yield
    (shell.folder / "outputs/.imagine/budgets.json").unlink(missing_ok=True)


def test_a_budget_stops_a_batch_and_reconcile_goes_on_once_it_is_raised(
    shell: Shell, providers: RunningSandbox
) -> None:
    made = shell.run("budget", "set", "team", "--limit", "aivisualstudio=12", "--period", "day", "--json")
    assert made.code == 0, made.stderr
    [line] = made.last["budgets"]
    assert (line["budget"], line["limit"], line["left"], line["until"][11:]) == ("team", 12, 12, "00:00:00Z")
    stopped = shell.run("generate", shell.write("zoo.txt", THREE), *MINE)
    assert stopped.code == 3, stopped.stderr
    assert stopped.last["waits_for"] == {
        "budget": "team",
        "provider": "aivisualstudio",
        "credits": 5,
        "until": line["until"],
    }
    assert "budget 'team'" in stopped.last["error"]
    shown = shell.run("budget", "list", "--json")
    assert [(each["charged"], each["left"]) for each in shown.last["budgets"]] == [(10, 2)]
    waits = shell.run("reconcile", "zoo", "--json")
    assert (waits.last["items"]["planned"], waits.last["requests"]["create"]) == (1, 0)
    raised = shell.run("budget", "set", "team", "--limit", "aivisualstudio=15", "--period", "day", "--json")
    assert raised.last["budgets"][0]["left"] == 5
    gone_on = shell.run("reconcile", "zoo", "--json")
    assert gone_on.code == 0, gone_on.stderr
    assert assert_contract(gone_on)["items"]["stored"] == 3
    assert providers.report()["charged"]["aivisualstudio"] == 15


def test_what_was_spent_before_counts_by_label(shell: Shell) -> None:
    rows = [{"prompt": f"picture {number}", "labels": {"client": name}} for number, name in enumerate("aab")]
    file = shell.write("clients.jsonl", "\n".join(map(json.dumps, rows)))
    assert shell.run("generate", file, *MINE).code == 0
    made = shell.run("budget", "set", "a", "--limit", "aivisualstudio=50", "--label", "client=a", "--json")
    assert made.last["budgets"][0]["charged"] == 10
    assert "a client=a" in made.stderr


def test_what_makes_no_sense_is_told(shell: Shell) -> None:
    for words, said in (
        (("budget", "set", "team"), "--limit is missing"),
        (("budget", "set", "a/b", "--limit", "imaginelab=1"), "a name has 1 to 64"),
        (("budget", "set", "team", "--limit", "nobody=1"), "PROVIDER=VALUE"),
        (("budget", "set", "team", "--limit", "imaginelab=-1"), "is no number of credits"),
        (("budget", "set", "team", "--limit", "imaginelab=1", "--period", "year"), "no period 'year'"),
        (("budget", "set", "team", "--limit", "imaginelab=1", "--time-zone", "Mars"), "no time zone"),
        (("budget", "set", "team", "--limit", "imaginelab=1", "--label", "client"), "LABEL=VALUE"),
        (("budget", "remove", "team"), "there is no budget 'team'"),
    ):
        ended = shell.run(*words)
        assert ended.code == 2, words
        assert said in ended.stderr


def test_without_a_price_nothing_is_spent(shell: Shell, providers: RunningSandbox) -> None:
    assert shell.run("budget", "set", "team", "--limit", "imagineapi=5").code == 0
    file = shell.write("free.txt", THREE)
    ended = shell.run("generate", file, "--provider", "imagineapi", "--json")
    assert ended.code == 2
    assert "budget 'team' cannot be kept: imagineapi tells no prices" in ended.stderr
    assert providers.books.accepted["imagineapi"] == 0
    priced = shell.run("generate", file, "--provider", "imagineapi", "--json", "--price", "imagineapi=2")
    assert (priced.code, priced.last["items"]["stored"]) == (3, 2)


def test_one_that_is_removed_limits_nothing(shell: Shell) -> None:
    assert shell.run("budget", "set", "team", "--limit", "aivisualstudio=0").code == 0
    file = shell.write("one.txt", "a fox\n")
    assert shell.run("generate", file, *MINE).code == 3
    removed = shell.run("budget", "remove", "team", "--json")
    assert removed.last["removed"] == "team"
    assert shell.run("generate", file, *MINE).code == 0
    assert "there is no budget under" in shell.run("budget", "list").stderr
