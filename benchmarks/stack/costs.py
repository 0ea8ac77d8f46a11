"""`python -m benchmarks.stack.costs`: what an item and a task run of a fleet leave in Prefect's database and
ask of the bucket, told apart by three batches."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.machine import described
from benchmarks.report import write
from benchmarks.stack.batch import PROVIDER, run_batch
from benchmarks.stack.counting import CountedStack, Counts
from benchmarks.stack.stack import missing
from benchmarks.tables import Table

WORKERS = 4
LIMIT = 6_000
FEW, MANY = 2_000, 8_000
SHARDS, MORE_SHARDS = 4, 8
"""Of the batches of few and of many items; and of another one of few."""
IDLE_SECONDS = 60.0
TASK_RUNS = "rows task_run"
SANDBOX: dict[str, Any] = {
    "image_pixels": 64,
    "credits": {PROVIDER: 10**9},
    "latency": {"image": (3.0, 5.0)},
    "rate_limits": {PROVIDER: {"limit": LIMIT, "window_seconds": 60.0, "headers": True}},
}


def main() -> None:
    """Bring a stack up, run the batches one after the other, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stack.costs", description=__doc__)
    parser.add_argument("--divided-by", type=int, default=1, help="by how much fewer items, for a try")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    few, many = FEW // arguments.divided_by, MANY // arguments.divided_by
    if missing():
        sys.exit(missing())
    measured = described(["python -m benchmarks.stack.costs", *sys.argv[1:]])
    print(measured, flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="imagine-costs-", ignore_cleanup_errors=True) as name,
        CountedStack(Path(name) / "stack", workers=WORKERS, sandbox=SANDBOX) as stack,
    ):
        table = _measured(stack, few, many)
    print(table.markdown(), flush=True)
    if arguments.write:
        write(measured, table)


def _measured(stack: CountedStack, few: int, many: int) -> Table:
    batches = ((few, SHARDS), (many, SHARDS), (few, MORE_SHARDS))
    table = Table(
        "What a fleet's batch costs",
        f"{WORKERS} workers, {LIMIT:,} requests a minute with headers, jobs of 3-5 s. An item: what the "
        "second batch has more than the first one, which has as many task runs, over the items. A task run: "
        "what the third has more than the first one, which has as many items, over the task runs. Idle: what "
        "the same installation uses up in a minute without a batch; it is taken off for the time that each "
        "batch took. CPU in seconds, sizes in bytes.",
        (
            "what",
            *(f"{count:,} items in {shards} shards" for count, shards in batches),
            "an item",
            "a task run",
            "idle, a minute",
        ),
    )
    stack.settled()  # what workers and deployments have left
    idle = defaultdict(float, _idle(stack))
    first, second, third = (_cost(stack, place, *batch, idle) for place, batch in enumerate(batches))
    runs = third[TASK_RUNS] - first[TASK_RUNS]
    for name in sorted({*first, *second, *third}):
        told = [counted.get(name, 0.0) for counted in (first, second, third)]
        item, run = (told[1] - told[0]) / (many - few), (told[2] - told[0]) / runs
        table.add(
            name, *(f"{each:,.1f}" for each in told), f"{item:.4f}", f"{run:.4f}", f"{60 * idle[name]:,.1f}"
        )
    return table


def _idle(stack: CountedStack) -> Counts:
    """What an installation without a batch uses up in a second."""
    before, began = stack.counts(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    after, seconds = stack.counts(), time.monotonic() - began
    return {name: (after[name] - before.get(name, 0)) / seconds for name in after}


def _cost(stack: CountedStack, place: int, items: int, shards: int, idle: Counts) -> Counts:
    """What one batch has used up beyond what an idle installation does."""
    before, events, began = stack.counts(), stack.kinds_of_events(), time.monotonic()
    figures = run_batch(stack, items, batch=f"costs-{place}", workers=shards)
    print(f"{items:,} items in {shards} shards", *figures.lines(), sep="\n", flush=True)
    if not figures.completed:
        sys.exit("the batch did not complete")
    after, seconds = stack.settled(), time.monotonic() - began
    cost = {name: after[name] - before.get(name, 0) - idle.get(name, 0) * seconds for name in after}
    cost |= {f"events {name}": count for name, count in (stack.kinds_of_events() - events).items()}
    cost["API requests to the provider"] = sum(figures.sent.values())
    cost["answers 429"] = figures.requests["rate_limited"]
    return cost


if __name__ == "__main__":
    main()
