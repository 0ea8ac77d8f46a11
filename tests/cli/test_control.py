"""`pause`, `set`, `retry`, and a `resume` that lets a paused batch go on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from tests.cli.commands import Shell

MINE = ("--provider", "aivisualstudio", "--json")


@pytest.fixture(autouse=True)
def fresh(providers: RunningSandbox) -> Iterator[None]:
    providers.reset()
    yield
    providers.faults.clear()
    providers.configure(rate_limits={"aivisualstudio": RateLimit()}, access={"aivisualstudio": "full"})


def _wait(ready: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    """Wait until something holds that a command does."""
    while not ready():
        assert running.poll() is None, "it has ended before"
        time.sleep(0.05)


def _lines(count: int, word: str) -> str:
    return "".join(f"{word} {number}\n" for number in range(count))


def test_a_running_batch_is_paused_changed_and_goes_on(shell: Shell, providers: RunningSandbox) -> None:
    providers.configure(rate_limits={"aivisualstudio": RateLimit(12, 2.0)})
    file = shell.write("paused.txt", _lines(60, "paused"))
    running = shell.start("generate", file, *MINE)
    _wait(lambda: providers.books.accepted["aivisualstudio"] >= 5, running)
    paused = shell.run("pause", "paused", "--why", "lunch", "--json")
    assert paused.code == 0, paused.stderr
    assert paused.last == {
        "batch_id": "paused",
        "command": 1,
        "kind": "pause",
        "running": True,
        "obeyed": True,
        "error": None,
    }
    before = providers.books.accepted["aivisualstudio"]
    told = shell.run("status", "paused").stdout
    assert "told: pause from" in told
    assert told.rstrip().endswith(": lunch")
    changed = shell.run("set", "paused", "--max-credits", "200", "--json")
    assert (changed.code, changed.last["obeyed"]) == (0, True)
    assert providers.books.accepted["aivisualstudio"] <= before + 1
    resumed = shell.run("resume", "paused", "--json")
    assert resumed.code == 0, resumed.stderr
    assert "what was paused from" in resumed.stderr
    ended = shell.end(running)
    assert (ended.code, ended.last["credits"]["charged"]) == (3, 200), ended.stderr
    report = (shell.folder / "outputs/paused/report.html").read_text()
    assert "Commands" in report
    assert ": lunch" in report


def test_a_batch_that_nobody_runs_begins_as_commanded(shell: Shell, providers: RunningSandbox) -> None:
    file = shell.write("later.txt", _lines(4, "later"))
    assert shell.run("generate", file, *MINE, "--max-credits", "5").code == 3
    kept = shell.run("set", "later", "--max-credits", "10", "--json")
    assert (kept.code, kept.last["running"], kept.last["obeyed"]) == (0, False, False)
    assert "its next run begins so" in kept.stderr
    assert shell.run("pause", "later").code == 0
    again = shell.run("resume", "later", "--json")
    assert again.code == 3, "it is resumed, with the limit that was set"
    assert again.last["credits"]["charged"] == 10


def test_single_items_are_created_again(shell: Shell, providers: RunningSandbox) -> None:
    providers.faults.add(FaultRule("job_fails", match="again 1", times=1))
    providers.faults.add(FaultRule("job_fails", match="again 2", times=1))
    file = shell.write("again.txt", _lines(4, "again"))
    assert shell.run("generate", file, *MINE).code == 1
    for words, said in (
        (("retry", "again", "1"), "item 1 has not failed: it is stored"),
        (("retry", "again", "9"), "has no item 9"),
        (("retry", "again"), "ITEMS is missing"),
        (("retry", "nothing", "1"), "there is no batch 'nothing'"),
        (("set", "again"), "give --max-credits or --rate"),
        (("pause", "again", "--provider", "nobody"), "nobody"),
        (("pause", "again", "--why", "x" * 1001), "at most 1000 characters"),
    ):
        ended = shell.run(*words)
        assert (ended.code, said in ended.stderr) == (2, True), ended.stderr
    told = shell.run("retry", "again", "2", "--json")
    assert told.code == 0, told.stderr
    assert "prefect-imagine resume again creates 1 items again" in told.stderr
    resumed = shell.run("resume", "again", "--json")
    assert (resumed.last["requests"]["create"], resumed.last["items"]["failed"]) == (1, 1)
    assert shell.run("resume", "again", "--json").last["requests"]["create"] == 0


def test_who_creates_again_what_may_exist_is_told_that_it_may_cost_twice(
    shell: Shell, providers: RunningSandbox
) -> None:
    providers.configure(access={"aivisualstudio": "no_lists"})
    providers.faults.add(FaultRule("cut_after", on="create", match="doubt 1", times=1))
    file = shell.write("doubt.txt", _lines(2, "doubt"))
    short = ("--timing", "deadline=1,create=1,settle=1,margin=1")
    ended = shell.run("generate", file, *MINE, *short, "--json")
    assert (ended.code, ended.last["items"]["unknown"]) == (1, 1), ended.stderr
    told = shell.run("generate", file, *MINE, "--recreate-unknown", "--dry-run")
    assert "creating 1 items again: 5 credits estimated; 1 may have been created before" in told.stderr, told
    assert len(providers.report()["jobs"]) == 2
