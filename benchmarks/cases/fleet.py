"""One batch over 1, 2 and 4 workers of a pool, on the server of a team."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.rig import Rig
from benchmarks.stack import Stack, missing
from benchmarks.stack.batch import MEGABYTE, PROVIDER, Figures, run_batch
from benchmarks.tables import Table

WINDOW = 60.0
PLACE = (
    "PostgreSQL, Valkey, two web processes, services, S3, the sandbox and all workers on these processors."
)
USED = (
    "Limit used: requests over those that the limit allows, in the span of whole minutes that has the fewest "
    "of all that are as long."
)


def measure(rig: Rig) -> Table:
    """Throughput, what is used of the limit, and memory, by the number of workers."""
    return measured(rig, "One batch over a fleet", 6000, 20_000, (1, 2, 4))


def measured(rig: Rig, title: str, limit: int, items: int, workers: Sequence[int]) -> Table:
    """Batches of so many items under a limit of requests a minute, one for each number of workers, which are
    all that there are."""
    if missing():
        raise RuntimeError(missing())
    items = 400 if rig.quick else items
    table = Table(
        title,
        f"AI Visual Studio with one key of {limit:,} requests a minute and headers, N = {items:,}, jobs of "
        f"1 to 3 s, into S3; {PLACE} {USED}",
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
    for number in workers:
        # A stack of its own: a batch of many shards would be shared by all workers that there are.
        with Stack(rig.folder / f"fleet-{number}", workers=number, sandbox=_sandbox(limit)) as stack:
            figures = run_batch(stack, items, f"fleet-{number}", number)
        if not figures.completed:
            raise RuntimeError(f"{figures.state}: {figures.stored} of {items} stored")
        _add(table, number, limit, figures)
    return table


def _sandbox(limit: int) -> dict[str, Any]:
    return {
        "image_pixels": 32,
        "latency": {"image": (1.0, 3.0)},
        "rate_limits": {PROVIDER: {"limit": limit, "window_seconds": WINDOW, "headers": True}},
    }


def _add(table: Table, workers: int, limit: int, figures: Figures) -> None:
    table.add(
        workers,
        figures.stored / figures.creating,
        figures.limit_used(limit, WINDOW),
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
