"""benchmarks/stack: a batch goes through a server of several processes, and nothing of it all is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.stack import Stack, missing
from benchmarks.stack.service import StackError
from prefect_imagine.stores import open_store
from tests.operations.site import ROOT, until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is installed"),
]
COUNT = 8
BATCH_SECONDS = 600.0
END_SECONDS = 240.0
QUICK = {"latency": {"image": (0.05, 0.2)}, "image_pixels": 32}


def _left_of(folder: Path) -> list[int]:
    """The processes that live and were started for a stack, by its folder in their environment; but for those
    of PostgreSQL, which overwrite theirs."""
    return [int(each.parent.name) for each in Path("/proc").glob("[0-9]*/environ") if _mentions(each, folder)]


def _mentions(environment: Path, folder: Path) -> bool:
    try:
        return f"{folder}/".encode() in environment.read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return False


def test_a_batch_goes_through_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    prompts = [{"prompt": f"a kite {number}"} for number in range(COUNT)]
    parameters = {"prompts": prompts, "provider": "aivisualstudio", "options": {"batch_id": "kites"}}
    with Stack(folder, sandbox=QUICK) as stack:
        run = stack.api.start_run("generate-batch/generate-batch", parameters)
        ended = stack.api.ended(run, BATCH_SECONDS)
        state = (ended["state_type"], ended["state"]["message"])
        assert state == ("COMPLETED", f"{COUNT} of {COUNT} stored"), stack.api.log(run)
        with (
            closing(stack.s3.client()) as client,
            closing(open_store(stack.output, client=client)) as store,
        ):
            assert len(list(store.list("kites/outputs/"))) == COUNT
        assert stack.providers.books()["requests"]["aivisualstudio"]["create"] == COUNT
        assert sum(stack.memory()[1].values()) > 10_000_000
        running = stack.processes()
        assert all(running.values()), running
        stack.kill_worker(1)
        assert not stack.processes()["worker-1"]
        assert _left_of(folder)
    assert _left_of(folder) == []
    assert [pid for pids in running.values() for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert "database system is shut down" in (folder / "postgres.log").read_text()


def test_what_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(StackError, match=r"(?s)sandbox ended with 1:.*no_such_setting"),
        Stack(tmp_path / "stack", sandbox={"no_such_setting": 1}),
    ):
        pass
    assert _left_of(tmp_path) == []
    assert "database system is shut down" in (tmp_path / "stack/postgres.log").read_text()


def test_sigterm_ends_it_while_it_starts(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    command = [sys.executable, "-m", "benchmarks.stack", "--workers", "1", "--folder", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        until(lambda: (folder / "server.log").exists(), "the server's start")
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_SECONDS) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert _left_of(folder) == []
    assert "database system is shut down" in (folder / "postgres.log").read_text()
