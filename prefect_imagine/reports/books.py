"""What a batch has come to, by its store alone, and its books written beside it."""

from __future__ import annotations

from pydantic import ValidationError

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.failpoints import reach
from prefect_imagine.reports.manifest import make_manifest, manifest_key, write_manifest
from prefect_imagine.reports.report_writer import report_key, write_report
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize
from prefect_imagine.stores import Store


def standing(plan: Plan, state: BatchState, address: str) -> tuple[Summary, Usage]:
    """Where a batch stands by its journal, without a single request to a provider."""
    usage = Bill.of(plan, state).usage(utc_now())
    return summarize(usage, address, RequestCounts(), ()), usage


def usage_key(batch_id: str) -> str:
    """Where the bill lies below the root."""
    return f"{batch_id}/usage.json"


def write_books(store: Store, plan: Plan, state: BatchState, usage: Usage) -> None:
    """Put manifest, bill and report, replacing older ones."""
    items = make_manifest(plan, state)
    write_manifest(store, plan.batch_id, items)
    reach("mid_manifest")
    bill = usage.model_dump_json(indent=2).encode()
    store.put(usage_key(plan.batch_id), bill, "application/json")
    write_report(store, plan.batch_id, items, usage)


def settle_books(store: Store, plan: Plan, state: BatchState, usage: Usage) -> None:
    """Write the books of a settled batch if the run that settled it was killed before it could."""
    there = all(store.head(key) for key in (manifest_key(plan.batch_id), report_key(plan.batch_id)))
    if not there or not _same(store.read(usage_key(plan.batch_id)), usage):
        write_books(store, plan, state, usage)


def _same(written: bytes | None, usage: Usage) -> bool:
    """Whether a written bill says what this one says; balances are known only to the run that read them."""
    try:
        known = Usage.model_validate_json(written or b"")
    except ValidationError:
        return False
    return known.model_copy(update={"as_of": usage.as_of, "balances": ()}) == usage
