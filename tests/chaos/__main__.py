"""`python -m tests.chaos --kills 200 --seed N`: kill the command line and check the books.

A batch's seed is `N.number`; `--seed N.number` runs that batch alone again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.chaos.command import PROVIDERS
from tests.chaos.driver import KILLS_A_BATCH, Plan, Result, campaign
from tests.prefect_server import settings, shared_server, stop_shared_server


def main() -> int:
    """Run a campaign; 0 only where nothing was paid twice, lost or billed wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", default=str(int(time.time())), help="N, or N.number for one batch of it")
    parser.add_argument("--provider", choices=PROVIDERS, action="append", help="default: all four together")
    parser.add_argument("--at-once", type=int, default=2, help="batches side by side")
    arguments = parser.parse_args()
    plans = plans_for(arguments.seed, arguments.kills, tuple(arguments.provider or PROVIDERS))
    say(f"seed {arguments.seed}: {arguments.kills} kills in {len(plans)} batches")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-prefect-") as name:
        try:
            prefect = settings(Path(name) / "home", shared_server(Path(name)))
            results = campaign(plans, prefect, say, at_once=arguments.at_once)
        finally:
            stop_shared_server(Path(name))
    return report(results, time.monotonic() - began)


def plans_for(seed: str, kills: int, providers: tuple[str, ...]) -> list[Plan]:
    """Batches of ten kills each, or the one that a seed names."""
    number, _, single = seed.partition(".")
    each = 16 * len(PROVIDERS) // len(providers)
    counts = [KILLS_A_BATCH] * (kills // KILLS_A_BATCH) + [kills % KILLS_A_BATCH] * bool(
        kills % KILLS_A_BATCH
    )
    plans = [Plan(f"{number}.{place}", count, providers, each) for place, count in enumerate(counts, start=1)]
    if not single:
        return plans
    known = next((plan for plan in plans if plan.seed == seed), Plan(seed, KILLS_A_BATCH, providers, each))
    return [replace(known)]


def report(results: list[Result], seconds: float) -> int:
    """Print what came of it."""
    for result in results:
        for problem in result.problems:
            say(f"seed {result.plan.seed}: {problem}")
    total = total_of(results)
    say(
        f"{total(lambda each: each.kills)} kills, {total(lambda each: each.runs)} runs, "
        f"{total(lambda each: each.accepted)} jobs in {seconds:.0f} s: "
        f"{total(lambda each: len(each.verdict.doubles))} double charges, "
        f"{total(lambda each: len(each.verdict.lost))} lost, "
        f"{total(lambda each: len(each.verdict.credits))} wrong credits, "
        f"{total(lambda each: len(each.verdict.stray))} stray files"
    )
    return 1 if any(result.problems for result in results) else 0


def total_of(results: list[Result]) -> Callable[[Callable[[Result], int]], int]:
    """Adds something up over all batches."""
    return lambda count: sum(count(result) for result in results)


def say(line: str) -> None:
    """At once, however the output is redirected."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
