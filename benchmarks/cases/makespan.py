"""How close to the limit a batch comes: N = 280 at 60 requests per 10 s, jobs of about 4 s."""

from __future__ import annotations

from statistics import median

from benchmarks.bound import bound_seconds
from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table
from benchmarks.traffic import Traffic

LIMIT, WINDOW = 60, 10.0
LATENCY = {"image": (3.0, 5.0)}


def measure(rig: Rig) -> Table:
    """Ours with headers, with a rate alone, and the naive flow."""
    count, repeats = (120, 1) if rig.quick else (280, 3)
    table = Table(
        "Makespan over the bound",
        f"AI Visual Studio, N = {count}, {LIMIT} requests per {WINDOW:g} s, jobs of 3-5 s. Bound: "
        "ceil(N / limit) windows and the slowest job; makespan: first create to last result. "
        f"Ours: medians of {repeats}, slowest in brackets.",
        ("who", "rate known by", "makespan s", "over bound", "requests/generation", "429s", "stored"),
        plot="benchmarks.svg",
        plotted=("requests/generation", "429s", "over bound"),
        named=2,
    )
    for runner, headers, rates in (
        ("engine", True, {}),
        ("engine", False, {"aivisualstudio": "60/10s"}),
        ("engine", False, {}),
        ("flow", True, {}),
        ("naive", True, {}),
    ):
        limits = {
            "aivisualstudio": {"limit": LIMIT, "window_seconds": WINDOW, "kind": "fixed", "headers": headers}
        }
        seen: list[tuple[int, Traffic]] = []
        with small_pictures(rate_limits=limits, latency=LATENCY) as server:
            for _ in range(repeats if runner == "engine" else 1):
                job = Job(runner, count, rig.fresh_output(), rates=rates)
                result, traffic = rig.measure(server, job)[0]
                seen.append((result.stored, traffic))
        over = [each.makespan / bound_seconds(count, LIMIT, WINDOW, each.slowest) for _, each in seen]
        table.add(
            "naive flow" if runner == "naive" else f"ours ({runner})",
            "headers" if headers else "--rate" if rates else "429s only",
            median(each.makespan for _, each in seen),
            f"{median(over):.2f} ({max(over):.2f})",
            median(each.per_generation for _, each in seen),
            max(each.refused for _, each in seen),
            min(stored for stored, _ in seen),
        )
    return table
