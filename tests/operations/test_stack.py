"""benchmarks/stack: batches go through a server of several processes, and nothing of it all is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.stack import Stack, missing
from benchmarks.stack.service import StackError
from prefect_imagine.stores import Store, open_store
from tests.operations.fleet_files import REQUIRED, TEMPLATES, job_command, setup_script
from tests.operations.site import ROOT, until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is installed"),
]
COUNT = 8
BEGUN = 3
GENERATE = "generate-batch/generate-batch"
PROVIDER = "aivisualstudio"
BATCH_SECONDS = 600.0
END_SECONDS = 240.0
QUICK = {"latency": {"image": (0.05, 0.2)}, "image_pixels": 32}
SLOW = {PROVIDER: {"limit": 4, "window_seconds": 4.0, "headers": True}}
"""Keeps a batch busy for long enough to disturb it."""


def _left_of(folder: Path) -> list[int]:
    """The processes that live and were started for a stack, by its folder in their environment; but for those
    of PostgreSQL, which overwrite theirs."""
    return [int(each.parent.name) for each in Path("/proc").glob("[0-9]*/environ") if _mentions(each, folder)]


def _mentions(environment: Path, folder: Path) -> bool:
    try:
        return f"{folder}/".encode() in environment.read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return False


def _start(stack: Stack, name: str) -> str:
    prompts = [{"prompt": f"{name} {number}"} for number in range(COUNT)]
    return stack.api.start_run(
        GENERATE, {"prompts": prompts, "provider": PROVIDER, "options": {"batch_id": name}}
    )


def _assert_completes(stack: Stack, store: Store, run: str, name: str) -> None:
    ended = stack.api.ended(run, BATCH_SECONDS)
    state = (ended["state_type"], ended["state"]["message"])
    assert state == ("COMPLETED", f"{COUNT} of {COUNT} stored"), stack.api.log(run)
    assert len(list(store.list(f"{name}/outputs/"))) == COUNT


def _creates(stack: Stack) -> int:
    count: int = stack.providers.books()["requests"][PROVIDER]["create"]
    return count


def _assert_a_job_hands_over(stack: Stack, store: Store, command: str) -> None:
    """A run that a SIGTERM ends as the pools' jobs begin it: another process goes on with it at once."""
    stack.kill_worker(1)
    before = _creates(stack)
    stack.providers.configure(rate_limits=SLOW)
    run = _start(stack, "evicted")
    # As a worker does that has begun a job for it.
    stack.api.request("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
    _, *words = shlex.split(command)
    environment = {**stack.environment, "PREFECT__FLOW_RUN_ID": run}
    with (stack.folder / "job.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, cwd=stack.folder, stdout=log, stderr=log
        )
        try:
            until(lambda: _creates(stack) >= before + BEGUN, "a run that creates")
            process.send_signal(signal.SIGTERM)
            process.wait(END_SECONDS)
        finally:
            process.kill()
            process.wait()
    assert stack.api.flow_run(run)["state_type"] == "CRASHED", stack.api.log(run)
    lease, usage = store.read("evicted/lease.json"), store.read("evicted/usage.json")
    assert lease is not None
    assert usage is not None
    assert json.loads(lease)["released"]
    stack.providers.configure(rate_limits={PROVIDER: {"limit": None}})
    stack.start_worker(1)
    scheduled = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    stack.api.request("POST", f"/flow_runs/{run}/set_state", scheduled)
    _assert_completes(stack, store, run, "evicted")
    assert _creates(stack) == before + COUNT


def _assert_is_set_up(stack: Stack) -> None:
    """What ops/fleet/compose.yaml runs once makes pools, deployments and automations."""
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**stack.environment, "PATH": paths, "IMAGINE_OUTPUT": "s3://bucket/fleet"}
    script = setup_script().replace("/tmp/prefect.yaml", str(stack.folder / "set-up.yaml"))
    ended = subprocess.run(
        ["sh", "-euc", script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BATCH_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = stack.api.request("POST", "/deployments/filter", {})
    assert "generate-batch" in {each["name"] for each in found}
    assert not {"generate-nightly", "load-history"} & {each["name"] for each in found}
    outputs = {each["parameters"]["output"] for each in found if "output" in each["parameters"]}
    assert outputs == {"s3://bucket/fleet"}
    assert stack.api.request("POST", "/automations/filter", {})


def _assert_pools_take_their_templates(stack: Stack) -> None:
    """The server takes each template, and deployments of prefect.yaml to its pool."""
    prefect = (sys.executable, "-m", "prefect")
    for kind, path in TEMPLATES.items():
        stack.run(*prefect, "work-pool", "create", kind, "--type", kind, "--base-job-template", str(path))
        made = stack.api.request("GET", f"/work_pools/{kind}")
        assert made["base_job_template"] == json.loads(path.read_text())
        variables = [word for name, each in REQUIRED[kind].items() for word in ("-jv", f"{name}={each}")]
        file = str(stack.folder / "deployed/prefect.yaml")
        stack.run(
            *(*prefect, "deploy", "--prefect-file", file, "--name", "generate-batch"),
            *("--pool", kind, *variables),
        )
        deployed = stack.api.request("GET", f"/deployments/name/{GENERATE}")
        assert deployed["work_pool_name"] == kind
        assert deployed["job_variables"].items() >= REQUIRED[kind].items()


def test_batches_go_through_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    [command] = {job_command(kind) for kind in TEMPLATES}
    with Stack(folder, sandbox=QUICK) as stack:
        with (
            closing(stack.s3.client()) as client,
            closing(open_store(stack.output, client=client)) as store,
        ):
            _assert_completes(stack, store, _start(stack, "kites"), "kites")
            assert _creates(stack) == COUNT
            assert sum(stack.memory()[1].values()) > 10_000_000
            _assert_a_job_hands_over(stack, store, command)
        _assert_pools_take_their_templates(stack)
        _assert_is_set_up(stack)
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


INTERRUPTED_START = """
import os, signal
from benchmarks.stack.signals import ended_by_signals, postponed
with ended_by_signals():
    with postponed():
        os.kill(os.getpid(), signal.SIGTERM)
        print("noted", flush=True)
    print("not ended", flush=True)
"""


def test_a_signal_waits_until_a_started_process_is_noted() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_START],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "noted\n"), ended.stderr


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
