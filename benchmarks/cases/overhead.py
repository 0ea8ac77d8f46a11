"""What orchestration costs: no limit, no latency, against a bare script that makes the same calls."""

from __future__ import annotations

from statistics import median

from benchmarks.rig import Rig, instant_pictures
from benchmarks.runs import Job, Result
from benchmarks.tables import Table
from benchmarks.traffic import Traffic


def measure(rig: Rig) -> Table:
    """Generations a second, from the first create to the last download, interleaved with the bare script."""
    count, rounds = (500, 1) if rig.quick else (2000, 3)
    table = Table(
        "Orchestration overhead",
        f"AI Visual Studio, N = {count}, latency 0, no limit, pictures of a few hundred bytes into a folder. "
        f"Medians of {rounds} interleaved rounds.",
        ("who", "generations/s", "over the bare script's", "CPU ms a generation", "API requests", "stored"),
    )
    seen: dict[str, list[tuple[Result, Traffic]]] = {"bare": [], "engine": [], "flow": []}
    with instant_pictures() as server:
        for _ in range(rounds):
            for runner, measured in seen.items():
                measured += rig.measure(server, Job(runner, count, rig.fresh_output()))
    bare = [count / traffic.makespan for _, traffic in seen["bare"]]
    for runner, measured in seen.items():
        paces = [count / traffic.makespan for _, traffic in measured]
        table.add(
            "bare script" if runner == "bare" else f"ours ({runner})",
            median(paces),
            median(pace / other for pace, other in zip(paces, bare, strict=True)),
            median(result.cpu_seconds / count * 1000 for result, _ in measured),
            median(sum(traffic.requests.values()) for _, traffic in measured),
            min(result.stored for result, _ in measured),
        )
    return table
