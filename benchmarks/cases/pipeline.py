"""What it costs to bring a picture from the provider into S3."""

from __future__ import annotations

from statistics import median

from benchmarks.rig import Rig, instant_pictures
from benchmarks.runs import Job, Result
from benchmarks.tables import Table
from benchmarks.traffic import Traffic
from prefect_imagine.sandbox.server.s3 import start_s3_server

SIZES = {"100 KB": 100_000, "1 MB": 1_000_000}


def measure(rig: Rig) -> Table:
    """Processor time and pace, interleaved with a script that makes the same calls and checks nothing."""
    count, rounds = (100, 1) if rig.quick else (500, 3)
    table = Table(
        "Into S3",
        f"AI Visual Studio, N = {count}, latency 0, no limit, pictures of many bytes and few pixels, so that "
        "none gets a thumbnail. A core's pace: N over the run's processor time. "
        f"Medians of {rounds} interleaved rounds.",
        (
            "picture",
            "who",
            "generations/s a core",
            "over the script's",
            "generations/s",
            "over the script's",
            "stored",
        ),
    )
    with start_s3_server(rig.folder / "pipeline-s3") as s3:
        bucket = s3.make_bucket()
        for size, number in SIZES.items():
            seen: dict[str, list[tuple[Result, Traffic]]] = {"bare": [], "engine": []}
            with instant_pictures(media_bytes=number) as server:
                for turn in range(rounds):
                    for runner, measured in seen.items():
                        output = f"s3://{bucket}/{size.replace(' ', '-')}-{runner}-{turn}"
                        measured += rig.measure(server, Job(runner, count, output), more=s3.environment)
            _add(table, size, count, seen)
    return table


def _add(table: Table, size: str, count: int, seen: dict[str, list[tuple[Result, Traffic]]]) -> None:
    bare = seen["bare"]
    for runner, measured in seen.items():
        table.add(
            size,
            "bare script" if runner == "bare" else f"ours ({runner})",
            median(count / result.cpu_seconds for result, _ in measured),
            median(
                other.cpu_seconds / result.cpu_seconds
                for (result, _), (other, _) in zip(measured, bare, strict=True)
            ),
            median(count / traffic.makespan for _, traffic in measured),
            median(
                other.makespan / traffic.makespan
                for (_, traffic), (_, other) in zip(measured, bare, strict=True)
            ),
            min(result.stored for result, _ in measured),
        )
