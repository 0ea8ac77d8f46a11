"""Peak memory: a long batch, and large videos side by side."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rig import Rig, instant_pictures, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table
from prefect_imagine.sandbox.server.s3 import start_s3_server

MEGABYTE = 1_000_000


def measure(rig: Rig) -> Table:
    """A batch of many items, and eight videos of 200 MB into a folder and into S3."""
    table = Table(
        "Peak memory",
        "The most that was resident (VmHWM) in the process of the run, and above what its imports hold.",
        ("run", "peak MB", "above imports MB", "seconds", "stored"),
    )
    _pictures(rig, table)
    _videos(rig, table)
    return table


def _pictures(rig: Rig, table: Table) -> None:
    count = 1000 if rig.quick else 10_000
    with instant_pictures() as server:
        for runner in ("engine", "flow"):
            result, _ = rig.measure(server, Job(runner, count, rig.fresh_output()))[0]
            table.add(
                f"{count:,} pictures, {runner}",
                result.memory,
                result.memory - result.base_memory,
                result.seconds,
                result.stored,
            )


def _videos(rig: Rig, table: Table) -> None:
    size = (20 if rig.quick else 200) * MEGABYTE
    with (
        start_s3_server(rig.folder / "s3") as s3,
        small_pictures(media_bytes=size, latency={"video": (1.0, 1.0)}) as server,
    ):
        for place, output in (("a folder", rig.fresh_output()), ("S3", f"s3://{s3.make_bucket()}/videos")):
            job = Job("engine", 8, output, kind="video")
            result, _ = rig.measure(server, job, more=s3.environment)[0]
            table.add(
                f"8 videos of {size // MEGABYTE} MB at once into {place}",
                result.memory,
                result.memory - result.base_memory,
                result.seconds,
                result.stored,
            )
            for file in Path(output).glob("*/outputs/*"):
                file.unlink()
