"""Whether a Prefect server keeps up: task runs that were made against those that it recorded."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter

from benchmarks.rig import Rig, instant_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

SETTLE_SECONDS = 90.0
TROUBLE = ("drop", "queue is full", "queue full", "backpressure", "503")


def measure(rig: Rig) -> Table:
    """One large flow against a server of its own."""
    count = 500 if rig.quick else 5000
    table = Table(
        "What the Prefect server records",
        f"AI Visual Studio, N = {count:,}, latency 0, no limit. Recorded: by the server, once its count no "
        "longer changes. Made: waves of max(1, N // 100) items, up to four times as many where a wave ends "
        "within a second, and one poll.",
        (
            "task runs made",
            "recorded",
            "not in a final state",
            "drops in the server's log",
            "flow's end",
            "stored",
        ),
    )
    with instant_pictures() as server:
        api = rig.prefect_environment["PREFECT_API_URL"]
        before = sum(_task_runs(api).values())
        result, _ = rig.measure(server, Job("flow", count, rig.fresh_output()))[0]
        states = _settled(api)
    finished = states["COMPLETED"] + states["FAILED"]
    table.add(
        result.said["task_runs"],
        sum(states.values()) - before,
        sum(states.values()) - finished,
        _drops(rig.prefect_log),
        result.said["message"],
        result.stored,
    )
    return table


def _drops(log: str) -> int:
    """Lines that tell of events or requests that were not taken."""
    return sum(any(word in line.lower() for word in TROUBLE) for line in log.splitlines())


def _settled(api: str) -> Counter[str]:
    """The task runs by state, when the server has stopped recording."""
    deadline = time.monotonic() + SETTLE_SECONDS
    states = _task_runs(api)
    while time.monotonic() < deadline:
        time.sleep(5)
        later = _task_runs(api)
        if later == states and not later["RUNNING"]:
            break
        states = later
    return states


def _task_runs(api: str) -> Counter[str]:
    return Counter({state: _count(api, state) for state in ("PENDING", "RUNNING", "COMPLETED", "FAILED")})


def _count(api: str, state: str) -> int:
    wanted = {"task_runs": {"state": {"type": {"any_": [state]}}}}
    request = urllib.request.Request(
        f"{api}/task_runs/count",
        data=json.dumps(wanted).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.read())
