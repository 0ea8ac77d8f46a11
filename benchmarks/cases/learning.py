"""A limit that no header tells and nobody has configured: measured in one run, kept in the next ones."""

from __future__ import annotations

from benchmarks.bound import bound_seconds
from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

LIMIT, WINDOW = 60, 10.0
LATENCY = {"image": (3.0, 5.0)}
KINDS = ("fixed", "sliding", "bucket")
RUNS = 3


def measure(rig: Rig) -> Table:
    """Run after run under one root, each on a machine that knows nothing."""
    count, runs = (120, 2) if rig.quick else (280, RUNS)
    table = Table(
        "A limit that no header tells",
        f"ImagineAPI, N = {count}, {LIMIT} requests per {WINDOW:g} s, no headers, no `--rate`, jobs of "
        "3-5 s: several runs under one root, and nothing else kept. Bound as above.",
        ("kind of limit", "run", "makespan s", "over bound", "requests/generation", "429s", "stored"),
    )
    for kind in KINDS:
        limits = {"imagineapi": {"limit": LIMIT, "window_seconds": WINDOW, "kind": kind, "headers": False}}
        output = rig.fresh_output()
        with small_pictures(rate_limits=limits, latency=LATENCY) as server:
            for number in range(1, runs + 1):
                job = Job("engine", count, output, provider="imagineapi", batch_id=f"run-{number}")
                result, traffic = rig.measure(server, job)[0]
                table.add(
                    kind,
                    number,
                    traffic.makespan,
                    traffic.makespan / bound_seconds(count, LIMIT, WINDOW, traffic.slowest),
                    traffic.per_generation,
                    traffic.refused,
                    result.stored,
                )
    return table
