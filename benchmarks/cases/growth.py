"""What a batch costs as it grows: memory, processor time, and what is written of each item."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rig import Rig, instant_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

SIZES = (1_000, 10_000, 100_000)
QUICK = (200, 1_000)
MADE = ("outputs", "thumbnails")


def measure(rig: Rig) -> Table:
    """The engine alone, on pictures that are ready at once, without a limit."""
    table = Table(
        "Growth",
        "One process into a folder, tiny pictures that are ready at once, no limit. Written: everything but "
        "outputs and thumbnails. Blocked: the longest that the event loop let something wait that was due.",
        (
            "items",
            "peak MB",
            "above imports MB",
            "CPU ms an item",
            "written bytes an item",
            "objects an item",
            "blocked ms",
            "seconds",
            "stored",
        ),
        plot="benchmarks-growth.svg",
        plotted=("peak MB", "CPU ms an item", "written bytes an item", "objects an item", "blocked ms"),
    )
    for count in QUICK if rig.quick else SIZES:
        with instant_pictures() as server:
            output = rig.fresh_output()
            result, _ = rig.measure(server, Job("engine", count, output))[0]
            written, objects = _written(Path(output))
            table.add(
                f"{count:,}",
                result.memory,
                result.memory - result.base_memory,
                1000 * result.cpu_seconds / count,
                written / count,
                objects / count,
                1000 * result.blocked,
                result.seconds,
                result.stored,
            )
    return table


def _written(root: Path) -> tuple[int, int]:
    """Bytes and files under a root, without what was generated."""
    files = [path for path in root.rglob("*") if path.is_file()]
    own = [path for path in files if not set(path.relative_to(root).parts) & set(MADE)]
    return sum(path.stat().st_size for path in own), len(own)
