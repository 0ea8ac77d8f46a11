"""The books of a credit report: all batches of the last 30 days."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from benchmarks.runs import Job
from prefect_imagine.tasks.bookkeeping import read_ledger

DAYS = 30.0


async def generate(job: Job) -> tuple[int, dict[str, Any]]:
    """Read them."""
    ledger = (await read_ledger.fn(job.output, None, DAYS, datetime.now(UTC))).ledger
    return ledger.batches, {}
