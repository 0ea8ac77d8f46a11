"""One batch over 1, 2 and 4 workers of a pool, on the server of a team."""

from __future__ import annotations

from benchmarks.rig import Rig
from benchmarks.stack import Stack, missing
from benchmarks.stack.batch import MEGABYTE, PROVIDER, Figures, run_batch
from benchmarks.tables import Table

LIMIT, WINDOW = 6000, 60.0
WORKERS = (1, 2, 4)
SANDBOX = {
    "image_pixels": 32,
    "latency": {"image": (1.0, 3.0)},
    "rate_limits": {PROVIDER: {"limit": LIMIT, "window_seconds": WINDOW, "headers": True}},
}


def measure(rig: Rig) -> Table:
    """Throughput, what is used of the limit, and memory, by the number of workers."""
    if missing():
        raise RuntimeError(missing())
    items = 400 if rig.quick else 20_000
    table = Table(
        "One batch over a fleet",
        f"AI Visual Studio with one key of {LIMIT:,} requests a minute and headers, N = {items:,}, jobs of "
        "1 to 3 s, into S3; PostgreSQL, Valkey, two web processes, services, S3, the sandbox and all workers "
        "on these processors. Limit used: requests over those that the limit allows, in the span of whole "
        "minutes that has the fewest of all that are as long. Task runs, and events that are missing of "
        "them: of all batches so far.",
        (
            "workers",
            "generations/s",
            "limit used",
            "429s",
            "requests a generation",
            "of which lists",
            "stored",
            "task runs",
            "events missing",
            "MB a run",
            "MB a worker",
            "MB handing over",
            "s held by that",
        ),
    )
    with Stack(rig.folder / "fleet", workers=max(WORKERS), sandbox=SANDBOX) as stack:
        for workers in WORKERS:
            figures = run_batch(stack, items, f"fleet-{workers}", workers)
            if not figures.completed:
                raise RuntimeError(f"{figures.state}: {figures.stored} of {items} stored")
            _add(table, workers, figures)
    return table


def _add(table: Table, workers: int, figures: Figures) -> None:
    table.add(
        workers,
        figures.stored / figures.creating,
        figures.limit_used(LIMIT, WINDOW),
        figures.requests["rate_limited"],
        f"{figures.requests_a_generation:.3f}",
        figures.sent.get("list", 0),
        figures.stored,
        figures.recorded.runs,
        figures.recorded.lost_events,
        round(figures.shard / MEGABYTE),
        round(figures.worker / MEGABYTE),
        round(figures.handing_over / MEGABYTE),
        figures.held,
    )
