"""`status`: a batch while another process runs it, live and in lines, and all batches under a root."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.core.faults import FaultRule
from prefect_imagine.stores import open_store
from tests.cli.commands import (
    Ended,
    Shell,
    assert_contract,
    assert_refused,
    read_terminal,
    read_terminal_until,
    until,
)
from tests.cli.conftest import LATENCY
from tests.conftest import KINDS
from tests.engine.engine_runs import numbered
from tests.engine.fleet_runs import FleetRuns

LINES = [{"prompt": f"picture {number}", "provider": "imaginelab"} for number in range(4)]
NEVER = dict.fromkeys(KINDS, (3600.0, 3600.0))


@pytest.fixture(autouse=True)
def fresh(providers: RunningSandbox) -> Iterator[None]:
    providers.reset()
    yield
    providers.faults.clear()
    providers.configure(latency=LATENCY)


def file_of(shell: Shell, name: str) -> Path:
    return shell.write(f"{name}.jsonl", "\n".join(map(json.dumps, LINES)))


@pytest.mark.long
def test_a_batch_is_followed_until_it_has_ended(shell: Shell, providers: RunningSandbox) -> None:
    providers.configure(latency=NEVER)
    running = shell.start("generate", file_of(shell, "followed"), "--json")
    until(lambda: len(providers.books.jobs) == len(LINES))
    batch = "followed"

    def all_under_way() -> bool:
        return "4 under way; " in shell.run("status", batch).stdout

    until(all_under_way)
    once = shell.run("status", batch).stdout
    assert re.search(
        rf"^run by process {running.pid} on \S+ since .+; 4 under way; .+ creates a m", once, re.M
    )
    listed = shell.run("status", "--json").last["batches"]
    assert [each["running"] for each in listed if each["batch_id"] == batch] == [True]

    lines = shell.start("status", batch, "--watch", "0.2", "--json")
    live, terminal = shell.start_at_terminal("status", batch, "--json", "--watch", "0.2")
    seen = read_terminal_until(terminal, b"\nrun by process ").decode()
    providers.advance(7200)
    seen += read_terminal(terminal).decode()
    assert shell.end(running).code == 0
    for watched in (shell.end(lines), ended_of(live)):
        assert watched.code == 0
        assert assert_contract(watched)["items"]["stored"] == 4
    assert "\x1b[?25l" in seen, "a live view hides the cursor"
    assert "\nreport: " in seen


@pytest.mark.long
async def test_a_fleet_is_watched_between_its_runs(shell: Shell, sandbox: RunningSandbox) -> None:
    root = shell.folder / "fleet-root"
    fleet = FleetRuns(sandbox, open_store(str(root)))
    dispatch = await fleet.hand_over(numbered("aivisualstudio", 100), workers=2)
    waiting = shell.run("status", "fleet", "--output", root)
    assert f"no worker of pool {dispatch.pool} runs a shard of it now; 100 planned" in waiting.stdout
    assert "creates 100 items" not in waiting.stdout, "it would be taken from the fleet"
    told = shell.run("set", "fleet", "--output", root, "--max-credits", "1000000")
    assert "no worker runs a shard of it now: its fleet's next runs begin so (set)" in told.stderr
    sandbox.configure(latency=NEVER)
    first = asyncio.create_task(fleet.work(dispatch, 1))
    watching = shell.start("status", "fleet", "--output", root, "--watch", "0.1")
    assert watching.stdout is not None
    while "50 under way" not in (await asyncio.to_thread(watching.stdout.readline)).decode():
        pass
    sandbox.configure(latency={"image": (0.0, 0.0)})
    sandbox.advance(7200)
    await first
    while "50 of 100 stored" not in (await asyncio.to_thread(watching.stdout.readline)).decode():
        pass
    assert watching.poll() is None
    await fleet.work(dispatch, 2)
    ended = await asyncio.to_thread(shell.end, watching)
    assert "100 of 100 stored" in ended.stdout


def ended_of(process: object) -> Ended:
    stdout, _ = process.communicate(timeout=30)  # type: ignore[attr-defined]
    return Ended(process.returncode, stdout.decode(), "")  # type: ignore[attr-defined]


@pytest.mark.long
def test_lines_are_told_once_a_change_and_end_with_the_process(
    shell: Shell, providers: RunningSandbox
) -> None:
    providers.configure(latency=NEVER)
    running = shell.start("generate", file_of(shell, "killed"), "--json")
    until(lambda: len(providers.books.jobs) == len(LINES))
    batch = "killed"
    watching = shell.start("status", batch, "--watch", "0.1")
    assert watching.stdout is not None
    told = [watching.stdout.readline().decode()]
    while "4 under way" not in told[-1]:
        told.append(watching.stdout.readline().decode())
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    ended = shell.end(watching)
    assert ended.code == 1
    told += [line for line in ended.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert all(re.match(r"\d\d:\d\d:\d\d 0 of 4 stored; ", line) for line in told)
    counts = [line.partition("; ")[2].partition("; ")[0] for line in told]
    assert len(set(counts)) == len(counts)
    assert re.search(r"^nobody runs it; 4 under way$", ended.stdout, re.M), ended.stdout


def test_why_items_failed_is_told_wherever_they_lie(
    shell: Shell, providers: RunningSandbox, bucket: str
) -> None:
    providers.faults.add(FaultRule("job_fails", match="picture 3", times=1))
    root = f"s3://{bucket}/art"
    made = shell.run("generate", file_of(shell, "failing"), "--output", root, "--json")
    shown = shell.run("status", f"{root}/{made.last['batch_id']}")
    assert shown.code == 1
    assert "nobody runs it" not in shown.stdout  # nothing is left to run
    failures = shown.stdout.partition("Not stored, and why\n")[2].splitlines()[2:]
    assert [line.split()[0] for line in failures] == ["imaginelab"]
    assert failures[0].endswith(" 1")
    (listed,) = shell.run("status", "--output", root, "--json").last["batches"]
    assert (listed["batch_id"], listed["items"]) == (made.last["batch_id"], made.last["items"])


def test_all_batches_under_a_root_are_listed(shell: Shell, providers: RunningSandbox) -> None:
    root = shell.folder / "listed"
    made = shell.run("generate", file_of(shell, "two"), "--output", root, "--batch-id", "two", "--json")
    assert made.code == 0, made.stderr
    shutil.copytree(root / "two", root / "one")
    (root / "one" / "plan.jsonl").write_text("{}\n")
    (root / "no batch").mkdir()
    (root / "no batch" / "file").write_text("x")

    shown = shell.run("status", "--output", root)
    assert shown.code == 0
    assert shown.stdout.splitlines()[0] == f"Batches under {root}"
    (row,) = [line for line in shown.stdout.splitlines() if line.startswith("two ")]
    assert row.split()[1:5] == ["4", "4", "0", "0"]
    assert len(shown.errors) == 1
    assert "the plan of" in shown.errors[0]

    told = shell.run("status", "--output", root, "--json")
    assert (told.code, told.stderr, told.last["output"]) == (0, "", str(root))
    one, two = told.last["batches"]
    assert (one["batch_id"], one["running"]) == ("one", False)
    assert "the plan of" in one["error"]
    assert set(two) == {"batch_id", "items", "credits", "unpriced_items", "running", "error"}
    assert two["items"] == {
        "total": 4,
        "stored": 4,
        "failed": 0,
        "unknown": 0,
        "under_way": 0,
        "planned": 0,
        "withdrawn": 0,
    }


def test_nothing_is_listed_where_nothing_is(shell: Shell) -> None:
    told = shell.run("status", "--output", "nothing/here", "--json")
    assert (told.code, told.last["batches"]) == (0, [])
    assert not (shell.folder / "nothing").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--watch",), "--watch follows one batch"),
        (("--watch", "followed-1"), "BATCH goes before --watch"),
        (("nothing", "--watch", "0"), "no number of seconds"),
        (("nothing", "--watch"), "there is no batch 'nothing'"),
    ],
)
def test_what_cannot_be_watched_is_refused(shell: Shell, words: tuple[str, ...], says: str) -> None:
    assert_refused(shell.run("status", *words, "--json"), says)
