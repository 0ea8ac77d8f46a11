"""What resuming a long batch costs: finished, and finished but for its last items."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rig import Rig, instant_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table


def measure(rig: Rig) -> Table:
    """Make a batch once, then run it again with the engine and the flow, and again with one item lost."""
    count = 1000 if rig.quick else 10_000
    table = Table(
        "Resuming",
        f"AI Visual Studio, {count:,} items, latency 0, no limit, into a folder. Seconds are those of the "
        "run inside the process, imports left out.",
        ("run", "seconds", "API requests", "downloads", "stored", "peak MB"),
    )
    output = rig.fresh_output()
    with instant_pictures() as server:
        for name, runner in (
            ("first run", "engine"),
            ("again, nothing left to do", "engine"),
            ("again as a flow", "flow"),
            ("again, the journal's last segment lost", "engine"),
        ):
            if "lost" in name:
                _forget_the_end(Path(output))
            result, traffic = rig.measure(server, Job(runner, count, output), keep_jobs=True)[0]
            table.add(
                name,
                result.seconds,
                sum(traffic.requests.values()),
                traffic.downloads,
                result.stored,
                result.memory,
            )
    return table


def _forget_the_end(output: Path) -> None:
    """As if the process had died before its last records were durable."""
    segments = sorted(output.glob("*/journal/*.jsonl"))
    segments[-1].unlink()
    for settlement in output.glob("*/settled.json"):
        settlement.unlink()
