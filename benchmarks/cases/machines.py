"""Several machines with a batch each on one key, which share nothing but a Prefect server."""

from __future__ import annotations

from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

RATES = ((60, 10.0, 300), (60, 60.0, 150))
"""Requests in a window, its seconds, and generations in all."""


def measure(rig: Rig) -> Table:
    """Two flows, and four, whose rate limit is one of Prefect's global concurrency limits."""
    table = Table(
        "Machines on one key",
        "AI Visual Studio without rate headers, the rate set, a process for each machine, one Prefect server "
        "between them. Use: of the limit in full windows. Pace: creates a second from the first to the last, "
        "over the limit.",
        ("machines", "limit", "generations", "use", "pace", "429s", "429s of requests", "stored"),
    )
    for limit, seconds, count in RATES[:1] if rig.quick else RATES:
        for machines in (2, 4):
            _measure(rig, table, machines, limit, seconds, count)
    return table


def _measure(rig: Rig, table: Table, machines: int, limit: int, seconds: float, count: int) -> None:
    jobs = [
        Job(
            "flow",
            count // machines,
            rig.fresh_output(),
            batch_id=f"bench-{number}",
            rates={"aivisualstudio": f"{limit}/{seconds:g}s"},
            machine=f"machine-{number}",
        )
        for number in range(machines)
    ]
    rule = {"limit": limit, "window_seconds": seconds, "kind": "fixed", "headers": False}
    with small_pictures(rate_limits={"aivisualstudio": rule}) as server:
        measured = rig.measure(server, *jobs)
    traffic = measured[0][1]
    table.add(
        machines,
        f"{limit} / {seconds:g} s",
        sum(job.generations for job in jobs),
        traffic.use_of_windows(limit, seconds),
        traffic.pace(limit, seconds),
        traffic.refused,
        f"{traffic.refused / sum(traffic.requests.values()):.1%}",
        sum(result.stored for result, _ in measured),
    )
