"""Signals while jobs are under way: an honest exit code, and a resume that pays nothing twice."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell, assert_contract, until
from tests.cli.conftest import LATENCY
from tests.conftest import KINDS

pytestmark = pytest.mark.long

LINES = [
    {"prompt": f"{provider} {number}", "provider": provider}
    for provider in ("aivisualstudio", "imagineapi", "imaginelab")
    for number in range(3)
]
NEVER = dict.fromkeys(KINDS, (3600.0, 3600.0))


@pytest.fixture(autouse=True)
def endless_jobs(providers: RunningSandbox) -> Iterator[None]:
    providers.reset()
    providers.configure(latency=NEVER)
    yield
    providers.configure(latency=LATENCY)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["int", "term"],
)
def test_a_run_that_is_told_to_stop_can_be_resumed(
    shell: Shell, providers: RunningSandbox, number: signal.Signals, code: int
) -> None:
    file = shell.write(f"{number.name}.jsonl", "\n".join(map(json.dumps, LINES)))
    words = ("generate", file, "--price", "imagineapi=1", "--json")
    process = shell.start(*words)
    until(lambda: len(providers.books.jobs) == len(LINES))
    os.kill(process.pid, number)
    stopped = shell.end(process)
    assert stopped.code == code, stopped.stderr
    found = assert_contract(stopped)
    assert found["items"] == {
        "total": 9,
        "stored": 0,
        "failed": 0,
        "unknown": 0,
        "under_way": 9,
        "planned": 0,
        "withdrawn": 0,
    }
    assert found["error"]
    assert "stopping: nothing more is created" in stopped.stderr

    providers.advance(7200)
    resumed = shell.run(*words)
    assert resumed.code == 0, resumed.stderr
    assert resumed.last["batch_id"] == found["batch_id"]
    assert resumed.last["items"]["stored"] == 9
    assert resumed.last["requests"]["create"] == 0
    assert Counter(job["prompt"] for job in providers.report()["jobs"]) == {
        line["prompt"]: 1 for line in LINES
    }


def test_a_second_signal_leaves_at_once(shell: Shell, providers: RunningSandbox) -> None:
    file = shell.write("twice.jsonl", "\n".join(map(json.dumps, LINES)))
    providers.configure(server_delay_seconds=30.0)  # the first signal waits for creates being sent
    try:
        process = shell.start("generate", file, "--price", "imagineapi=1", "--wait")
        assert process.stderr is not None
        until(lambda: bool(providers.books.requests["imagineapi"]))
        os.kill(process.pid, signal.SIGINT)
        assert b"stopping" in process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        assert shell.end(process).code == 130
    finally:
        providers.configure(server_delay_seconds=0.0)


def test_a_signal_before_anything_began_ends_at_once(shell: Shell, providers: RunningSandbox) -> None:
    file = shell.write("early.jsonl", "\n".join(map(json.dumps, LINES)))
    providers.configure(server_delay_seconds=10.0)  # it is still asking for models when told to stop
    try:
        process = shell.start("generate", file, "--price", "imagineapi=1", "--json")
        until(lambda: bool(providers.books.requests["aivisualstudio"]))
        os.kill(process.pid, signal.SIGTERM)
        ended = shell.end(process)
    finally:
        providers.configure(server_delay_seconds=0.0)
    assert ended.code == 143
    assert "run the same command again" in assert_contract(ended)["error"]
    assert providers.report()["jobs"] == []


CLOSING = """
import os, signal, sys
from asyncio.selector_events import BaseSelectorEventLoop
from prefect_imagine.cli import main

def close_and_meet_a_signal(loop, close=BaseSelectorEventLoop._close_self_pipe):
    close(loop)
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGINT)

BaseSelectorEventLoop._close_self_pipe = close_and_meet_a_signal
main(sys.argv[2:])
"""


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 130)])
def test_while_the_event_loop_closes_the_first_signal_is_too_late_and_the_second_leaves(
    shell: Shell, providers: RunningSandbox, times: int, code: int
) -> None:
    file = shell.write("closing.jsonl", json.dumps(LINES[0]))
    closing = replace(shell, program=(sys.executable, "-c", CLOSING, str(times)))
    ended = closing.run("generate", file, "--dry-run", "--json")
    assert ended.code == code, ended.stderr
    assert "again to leave at once" in ended.stderr
