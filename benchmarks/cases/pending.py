"""A cap on pending jobs, which answers 429 to creates only: Blockade Labs with eight at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job, Result
from benchmarks.sandbox_server import Server
from benchmarks.tables import Table
from benchmarks.traffic import Traffic

CAP, COUNT = 8, 60
JOBS = ((3.0, 5.0), (1.0, 2.0))
"""Seconds that jobs take, at least and at most."""


def measure(rig: Rig) -> Table:
    """Makespan beside what eight jobs at a time allow, and how many creates were refused."""
    rounds = {"engine": 1 if rig.quick else 3, "naive": 1}
    table = Table(
        "A cap on pending jobs",
        f"Blockade Labs, {CAP} unfinished jobs at most, no other limit, N = {COUNT}. Bound: ceil(N / cap) "
        f"times the mean latency. Ours: medians of {rounds['engine']}, each of which has to find the cap.",
        (
            "who",
            "jobs",
            "makespan s",
            "over bound",
            "429s",
            "429s a generation",
            "requests/generation",
            "stored",
        ),
    )
    for latency in JOBS:
        with small_pictures(pending_caps={"blockadelabs": CAP}, latency={"image": latency}) as server:
            for runner, times in rounds.items():
                seen = [_run(rig, server, runner) for _ in range(times)]
                _add(table, runner, latency, seen)
    return table


def _add(
    table: Table, runner: str, latency: tuple[float, float], seen: Sequence[tuple[Result, Traffic]]
) -> None:
    makespan = median(traffic.makespan for _, traffic in seen)
    refused = median(traffic.refused for _, traffic in seen)
    table.add(
        "naive flow" if runner == "naive" else "ours (engine)",
        f"{latency[0]:g}-{latency[1]:g} s",
        makespan,
        makespan / (math.ceil(COUNT / CAP) * sum(latency) / 2),
        refused,
        refused / COUNT,
        median(traffic.per_generation for _, traffic in seen),
        min(result.stored for result, _ in seen),
    )


def _run(rig: Rig, server: Server, runner: str) -> tuple[Result, Traffic]:
    job = Job(runner, COUNT, rig.fresh_output(), provider="blockadelabs")
    return rig.measure(server, job)[0]
