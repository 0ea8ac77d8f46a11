"""Requests per generation: each provider, with and without rate headers."""

from __future__ import annotations

from typing import Any

from benchmarks.bound import bound_seconds
from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.tables import Table

PROVIDERS = ("aivisualstudio", "blockadelabs", "imagineapi", "imaginelab")
WINDOW = 10.0
LATENCY = {"image": (3.0, 5.0)}
SIZES = ((100, 60), (1000, 200))
"""Generations, and the requests that 10 s allow."""


def measure(rig: Rig) -> Table:
    """All four providers side by side, each with a limit of its own; ImagineLab also without a history."""
    table = Table(
        "Requests per generation",
        "Jobs of 3-5 s. All requests that reached the API, lists of models and logins included, over the "
        "generations; the bound is 1. Ours: four providers side by side, in a process each.",
        (
            "provider",
            "N",
            "limit",
            "rate known by",
            "requests/generation",
            "429s",
            "over bound of time",
            "stored",
        ),
    )
    for count, limit in SIZES[:1] if rig.quick else SIZES:
        for headers in (True, False):
            _round(rig, table, "engine", count, limit, headers=headers)
            _round(
                rig, table, "engine", count, limit, headers=headers, only="imaginelab", history_mode="missing"
            )
    for provider in PROVIDERS:  # one after the other: four at once are too much for Prefect's database
        _round(rig, table, "naive", *SIZES[0], headers=True, only=provider)
    return table


def _round(
    rig: Rig,
    table: Table,
    runner: str,
    count: int,
    limit: int,
    *,
    headers: bool,
    only: str | None = None,
    **more: Any,
) -> None:
    providers = [only] if only else list(PROVIDERS)
    rule = {"limit": limit, "window_seconds": WINDOW, "kind": "fixed", "headers": headers}
    jobs = [
        Job(
            runner,
            count,
            rig.fresh_output(),
            provider=provider,
            rates={} if headers else {provider: f"{limit}/{WINDOW:g}s"},
        )
        for provider in providers
    ]
    with small_pictures(rate_limits=dict.fromkeys(PROVIDERS, rule), latency=LATENCY, **more) as server:
        measured = rig.measure(server, *jobs)
    for job, (result, traffic) in zip(jobs, measured, strict=True):
        table.add(
            f"{'naive: ' if runner == 'naive' else ''}{job.provider}{', no history' if more else ''}",
            count,
            f"{limit} / {WINDOW:g} s",
            "headers" if headers else "--rate",
            traffic.per_generation,
            traffic.refused,
            traffic.makespan / bound_seconds(count, limit, WINDOW, traffic.slowest),
            result.stored,
        )
