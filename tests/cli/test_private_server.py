"""Ctrl-C in a terminal where no Prefect server is set: the command's own server is ended last."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell, until
from tests.conftest import KINDS


@pytest.mark.long
def test_an_interrupt_of_the_whole_group_ends_the_run_and_then_its_server(
    shell: Shell, providers: RunningSandbox, tmp_path: Path
) -> None:
    providers.reset()
    providers.configure(latency=dict.fromkeys(KINDS, (3600.0, 3600.0)))
    alone = Shell(tmp_path, {**shell.environment, "PREFECT_HOME": str(tmp_path / "prefect")})
    alone.environment.pop("PREFECT_API_URL")
    prompts = alone.write("few.txt", "one\ntwo\n")
    running = alone.start("generate", prompts, "--provider", "imaginelab", "--json")
    until(lambda: len(providers.books.jobs) == 2)
    os.killpg(running.pid, signal.SIGINT)
    ended = alone.end(running)
    assert ended.code == 130, ended.stderr
    assert ended.last["items"]["under_way"] == 2
    assert "EventsWorker" not in ended.stderr
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        [(state,)] = database.execute("select state_type from flow_run").fetchall()
    database.close()
    assert state in ("FAILED", "CANCELLED", "COMPLETED")
