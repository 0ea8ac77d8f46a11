"""A cap on pending jobs, which answers 429 to creates only: Blockade Labs with eight at a time."""

from __future__ import annotations

import math

from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

CAP, COUNT = 8, 60
LATENCY = {"image": (3.0, 5.0)}


def measure(rig: Rig) -> Table:
    """Makespan beside what eight jobs at a time allow, and how many creates were refused."""
    table = Table(
        "A cap on pending jobs",
        f"Blockade Labs, {CAP} unfinished jobs at most, no other limit, N = {COUNT}, jobs of 3-5 s. "
        "Bound: ceil(N / cap) times the mean latency of 4 s.",
        ("who", "makespan s", "over bound", "429s", "429s a generation", "requests/generation", "stored"),
    )
    with small_pictures(pending_caps={"blockadelabs": CAP}, latency=LATENCY) as server:
        for runner in ("engine", "naive"):
            job = Job(runner, COUNT, rig.fresh_output(), provider="blockadelabs")
            result, traffic = rig.measure(server, job)[0]
            table.add(
                "naive flow" if runner == "naive" else "ours (engine)",
                traffic.makespan,
                traffic.makespan / (math.ceil(COUNT / CAP) * 4.0),
                traffic.refused,
                traffic.refused / COUNT,
                traffic.per_generation,
                result.stored,
            )
    return table
