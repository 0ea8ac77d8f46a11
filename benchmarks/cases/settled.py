"""What a new batch costs beside many that have settled: requests to S3, by kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

from benchmarks.counted import CountedWay, counted_way
from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job, Run
from benchmarks.sandbox_server import Server
from benchmarks.tables import Table
from prefect_imagine.sandbox.server.s3 import S3Server, start_s3_server

NIGHTS = (0, 10, 100, 365)
ITEMS = 10
KINDS = ("GET", "LIST")


def measure(rig: Rig) -> Table:
    """Nights are a day apart, so that a lost create's time touches none of them but the last."""
    nights = (0, 5) if rig.quick else NIGHTS
    table = Table(
        "Beside settled batches",
        f"On S3, one settled batch of 60 items a night. The run: {ITEMS} items; it is killed before the "
        "answer to its first create is written down, and resumed, which looks for that job. The credit "
        "report reads 30 days. GETs and LISTs of each command; the runs of the rows above have settled.",
        (
            "settled batches",
            "resume with a lost create",
            "status of one",
            "status of all",
            "reconcile",
            "credit report",
            "credit report, GETs a settled batch",
        ),
    )
    with (
        start_s3_server(rig.folder / "settled-s3") as s3,
        counted_way(s3.endpoint) as way,
        small_pictures(rate_limits={"aivisualstudio": {"limit": None}}) as server,
    ):
        root, written = f"s3://{s3.make_bucket()}/art", 0
        for count in nights:
            _write_nights(rig, server, s3, root, written, count)
            written = count
            table.add(count, *_Beside(rig, server, s3, way, root, count).costs())
    return table


def _write_nights(rig: Rig, server: Server, s3: S3Server, root: str, have: int, want: int) -> None:
    if want > have:
        job = Job("nights", want - have, root, first=have + 1)
        rig.measure(server, job, keep_jobs=True, more=s3.environment)


class _Beside:
    """The commands beside so many settled batches."""

    def __init__(
        self, rig: Rig, server: Server, s3: S3Server, way: CountedWay, root: str, nights: int
    ) -> None:
        self._rig, self._server, self._way, self._root, self._nights = rig, server, way, root, nights
        self._environment = {**s3.environment, "AWS_ENDPOINT_URL": way.endpoint}
        self._batch = f"tonight-{nights}"

    def costs(self) -> list[object]:
        """A cell for each command, and the report's GETs a settled batch that lies in its days."""
        resumed = self._resumed()
        commands = (("status", self._batch), ("status",), ("reconcile", self._batch))
        told = [self._command(*command) for command in commands]
        ledger = self._counted(Job("ledger", 0, self._root))
        inside = min(self._nights, 30)
        each = ledger["GET"] / inside if inside else float("nan")
        return [*map(_shown, (resumed, *told, ledger)), each]

    def _resumed(self) -> Counter[str]:
        job = Job("engine", ITEMS, self._root, batch_id=self._batch)
        killed = self._rig.start(
            self._server, job, {**self._environment, "PREFECT_IMAGINE_FAILPOINT": "after_post:1"}
        )
        _wait_until_killed(killed)
        return self._counted(job)

    def _counted(self, job: Job) -> Counter[str]:
        self._way.counts.clear()
        self._rig.measure(self._server, job, keep_jobs=True, more=self._environment)
        return Counter(self._way.counts)

    def _command(self, *words: str) -> Counter[str]:
        self._way.counts.clear()
        environment: Mapping[str, str] = {**os.environ, **self._server.environment, **self._environment}
        command = [sys.executable, "-m", "prefect_imagine", *words, "--output", self._root]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return Counter(self._way.counts)


def _wait_until_killed(run: Run) -> None:
    try:
        run.result()
    except RuntimeError:
        return
    raise RuntimeError("the run was to be killed, and went through")


def _shown(counts: Counter[str]) -> str:
    return " + ".join(f"{counts[kind]} {kind}" for kind in KINDS)
