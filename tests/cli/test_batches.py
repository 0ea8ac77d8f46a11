"""`status`, `resume`, `cancel` and `reconcile` on a batch that is under way, by id, path and address."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Ended, Shell, assert_contract, requests, until
from tests.cli.conftest import LATENCY
from tests.conftest import KINDS

LINES = [{"prompt": f"picture {number}", "provider": "imaginelab"} for number in range(4)]


@dataclass
class Stopped:
    """A batch whose process was interrupted while all of its jobs ran."""

    ended: Ended
    folder: Path

    @property
    def batch_id(self) -> str:
        return self.folder.name


@pytest.fixture(scope="module")
def stopped(shell: Shell, providers: RunningSandbox) -> Iterator[Stopped]:
    providers.configure(latency=dict.fromkeys(KINDS, (3600.0, 3600.0)))
    process = shell.start("generate", shell.write("four.jsonl", "\n".join(map(json.dumps, LINES))), "--json")
    try:
        until(lambda: len(providers.books.jobs) == len(LINES))
    finally:
        os.kill(process.pid, signal.SIGINT)
        ended = shell.end(process)
    assert ended.code == 130, ended.stderr
    yield Stopped(ended, shell.folder / "outputs" / ended.last["batch_id"])
    providers.configure(latency=LATENCY)


def test_status_tells_from_the_store_alone(stopped: Stopped, shell: Shell, providers: RunningSandbox) -> None:
    before = requests(providers)
    ended = shell.run("status", stopped.batch_id, "--json", **dict.fromkeys(providers.environment))
    assert ended.code == 1
    assert assert_contract(ended)["items"] == stopped.ended.last["items"]
    assert "0 of 4 stored, 4 under way" in ended.stderr
    assert requests(providers) == before


def test_a_batch_is_meant_by_id_path_or_from_its_folder(stopped: Stopped, shell: Shell) -> None:
    relative = f"outputs/{stopped.batch_id}"
    for batch in (stopped.batch_id, relative, f"./{relative}/", str(stopped.folder)):
        assert shell.run("status", batch, "--json").last["batch_id"] == stopped.batch_id
    inside = Shell(stopped.folder.parent, shell.environment)
    assert inside.run("status", stopped.batch_id, "--json").last["items"]["total"] == 4


def test_an_output_beats_a_folder_of_the_same_name_here(stopped: Stopped, shell: Shell) -> None:
    shutil.copytree(stopped.folder, shell.folder / stopped.batch_id)
    try:
        assert shell.run("status", stopped.batch_id, "--json").last["report"].startswith(str(stopped.folder))
        ended = shell.run("status", stopped.batch_id, "--output", "s3:/x", "--json")
        assert ended.code == 2
    finally:
        shutil.rmtree(shell.folder / stopped.batch_id)


def test_reconcile_stores_what_has_landed_and_creates_nothing(
    stopped: Stopped, shell: Shell, providers: RunningSandbox
) -> None:
    providers.advance(7200)
    ended = shell.run("reconcile", stopped.batch_id, "--json")
    assert ended.code == 0, ended.stderr
    found = assert_contract(ended)
    assert found["items"]["stored"] == 4
    assert found["requests"]["create"] == 0
    assert len(providers.books.jobs) == 4
    assert found["credits"]["charged"] == sum(providers.report()["charged"].values())


@pytest.mark.long
def test_cancel_stops_a_running_batch_which_can_be_resumed(shell: Shell, providers: RunningSandbox) -> None:
    providers.reset()
    providers.configure(latency=dict.fromkeys(KINDS, (3600.0, 3600.0)))
    words = ("generate", shell.write("long.jsonl", "\n".join(map(json.dumps, LINES))), "--json")
    running = shell.start(*words)
    until(lambda: len(providers.books.jobs) == len(LINES))
    found = json.loads((shell.folder / "outputs/long/plan.jsonl").read_text().splitlines()[0])

    busy = shell.run(*words)
    assert busy.code == 4, busy.stderr
    assert assert_contract(busy)["error"]

    cancelled = shell.run("cancel", found["batch_id"], "--json")
    assert cancelled.code == 0, cancelled.stderr
    assert_contract(cancelled)
    providers.advance(7200)  # what it sees next, it may not write down any more
    ended = shell.end(running)
    assert ended.code == 130, ended.stderr
    told = assert_contract(ended)
    assert "cancelled from" in told["error"]
    assert told["requests"]["create"] == len(LINES)
    assert (told["items"]["under_way"], told["items"]["planned"]) == (len(LINES), 0)

    resumed = shell.run("resume", shell.folder / "outputs" / found["batch_id"], "--json")
    assert (resumed.code, resumed.last["items"]["stored"]) == (0, 4), resumed.stderr
    assert resumed.last["requests"]["create"] == 0
    assert len(providers.books.jobs) == 4


def test_a_damaged_plan_is_told_and_nothing_is_created(shell: Shell, providers: RunningSandbox) -> None:
    before = len(providers.books.jobs)
    folder = shell.folder / "outputs" / "damaged"
    folder.mkdir(parents=True)
    (folder / "plan.jsonl").write_text("{}\n")
    for command in ("status", "resume", "report", "cancel", "reconcile"):
        ended = shell.run(command, "damaged", "--json")
        assert ended.code == 2, ended.stderr
        assert "the plan of" in assert_contract(ended)["error"]
    assert len(providers.books.jobs) == before
