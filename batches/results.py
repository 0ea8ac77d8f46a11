"""What a batch has come to, told from its store alone."""

from __future__ import annotations

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.state import BatchState
from prefect_imagine.batches.summary import RequestCounts, Summary, summarize
from prefect_imagine.batches.usage import Usage, make_usage
from prefect_imagine.providers.clock import utc_now


def standing(plan: Plan, state: BatchState, address: str) -> tuple[Summary, Usage]:
    """Where a batch stands by its journal, without a single request to a provider."""
    usage = make_usage(plan, state, utc_now())
    return summarize(usage, address, RequestCounts(), ()), usage
