"""Several processes with a batch each on one key of one machine."""

from __future__ import annotations

from statistics import mean

from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

LIMIT, WINDOW = 60, 10.0
IN_ALL = 300


def measure(rig: Rig) -> Table:
    """Two and four processes, with headers and with a rate alone."""
    count = 160 if rig.quick else IN_ALL
    table = Table(
        "Processes on one key",
        f"AI Visual Studio, {count} generations in all, {LIMIT} requests per {WINDOW:g} s, one machine. "
        "Use: of the limit in full windows. Pace: creates a second from the first to the last, over the "
        "limit, so that idle time between windows counts. Share: each process's seconds over their mean.",
        ("processes", "rate known by", "use", "pace", "429s", "429s of requests", "longest share", "stored"),
    )
    for processes in (2, 4):
        for headers, rates in ((True, {}), (False, {"aivisualstudio": f"{LIMIT}/{WINDOW:g}s"})):
            limit = {"limit": LIMIT, "window_seconds": WINDOW, "kind": "fixed", "headers": headers}
            jobs = [
                Job(
                    "engine",
                    count // processes,
                    rig.fresh_output(),
                    batch_id=f"bench-{number}",
                    rates=rates,
                )
                for number in range(processes)
            ]
            with small_pictures(rate_limits={"aivisualstudio": limit}) as server:
                measured = rig.measure(server, *jobs)
            traffic = measured[0][1]
            seconds = [result.seconds for result, _ in measured]
            table.add(
                processes,
                "headers" if headers else "--rate",
                traffic.use_of_windows(LIMIT, WINDOW),
                traffic.pace(LIMIT, WINDOW),
                traffic.refused,
                f"{traffic.refused / sum(traffic.requests.values()):.1%}",
                max(seconds) / mean(seconds),
                sum(result.stored for result, _ in measured),
            )
    return table
