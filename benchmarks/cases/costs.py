"""What one more generation costs, by the pace at which a run creates: requests, objects, processor time."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from benchmarks.counted import CountedWay, counted_way
from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.sandbox_server import Server
from benchmarks.tables import Table
from prefect_imagine.sandbox.server.s3 import S3Server, start_s3_server
from prefect_imagine.stores import open_store

KINDS = ("PUT", "GET", "LIST", "HEAD", "DELETE")
LATENCY = {"image": (10.0, 20.0)}
PACES: tuple[tuple[int | None, int, int], ...] = ((60, 120, 360), (600, 600, 2_400), (None, 1_000, 5_000))
"""Requests a minute that the key allows, and the generations of a small and a large batch."""
QUICK: tuple[tuple[int | None, int, int], ...] = ((None, 20, 60),)
Counts = dict[str, float]


def measure(rig: Rig) -> Table:
    """A small batch and a large one at each pace: what they differ by is what more generations cost."""
    low, high = LATENCY["image"]
    table = Table(
        "What a generation costs",
        f"AI Visual Studio with headers, the flow, one process, into S3; jobs of {low:g}-{high:g} s, "
        "pictures too small for a thumbnail. Each cell: the difference of a small and a "
        "large batch over the difference of their generations; in brackets what a batch of none would cost. "
        "Requests: to the provider. Objects: what is left in the bucket.",
        (
            "limit",
            "generations",
            "requests",
            *KINDS,
            "objects",
            "CPU ms",
            "task runs of the large one",
            "peak MB of the large one",
            "stored",
        ),
    )
    with start_s3_server(rig.folder / "costs-s3") as s3, counted_way(s3.endpoint) as way:
        for pace, small, large in QUICK if rig.quick else PACES:
            rule = {"limit": pace, "window_seconds": 60.0, "headers": True}
            with small_pictures(rate_limits={"aivisualstudio": rule}, latency=LATENCY) as server:
                few, many = (_Batch(rig, server, s3, way, count).counts() for count in (small, large))
            cells = [
                _line(few[name], many[name], small, large) for name in ("requests", *KINDS, "objects", "cpu")
            ]
            table.add(
                f"{pace} / 60 s" if pace else "none",
                f"{small:,} and {large:,}",
                *cells,
                int(many["task runs"]),
                many["memory"],
                int(many["stored"]),
            )
    return table


def _line(few: float, many: float, small: int, large: int) -> str:
    """What one more costs, and what none would."""
    each = (many - few) / (large - small)
    return f"{each:.3f} ({few - each * small:,.0f})"


class _Batch:
    """A batch under a root of its own."""

    def __init__(self, rig: Rig, server: Server, s3: S3Server, way: CountedWay, count: int) -> None:
        self._rig, self._server, self._s3, self._way, self._count = rig, server, s3, way, count
        self._root = f"s3://{s3.make_bucket()}/art"

    def counts(self) -> Counts:
        """Run it, and count."""
        more = {**self._s3.environment, "AWS_ENDPOINT_URL": self._way.endpoint}
        self._way.counts.clear()
        job = Job("flow", self._count, self._root)
        result, traffic = self._rig.measure(self._server, job, more=more)[0]
        counted: dict[str, Any] = {kind: self._way.counts[kind] for kind in KINDS}
        return counted | {
            "requests": sum(traffic.requests.values()),
            "objects": self._objects(),
            "cpu": 1000 * result.cpu_seconds,
            "memory": result.memory,
            "task runs": result.said["task_runs"],
            "stored": result.stored,
        }

    def _objects(self) -> int:
        with closing(self._s3.client()) as client, closing(open_store(self._root, client=client)) as store:
            return sum(1 for _ in store.list(""))
