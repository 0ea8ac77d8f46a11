"""The end of a command on a batch: the bill, what is not stored and why, and what would go on with it."""

from __future__ import annotations

import shlex

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output
from prefect_imagine.engine.preflight import estimate_lines, estimate_text
from prefect_imagine.reports.failures import failure_lines
from prefect_imagine.reports.summary import Summary


def show_end(
    plan: Plan, state: BatchState, summary: Summary, usage: Usage, root: str, *, to_stderr: bool
) -> None:
    """The bill of a batch, its failures by reason, and the commands that go on with it."""
    output.show_usage(usage, summary, to_stderr=to_stderr)
    show_failures(plan, state, to_stderr=to_stderr)
    for line in what_next(plan, state, root):
        output.line(line, to_stderr=to_stderr)


def show_failures(plan: Plan, state: BatchState, *, to_stderr: bool) -> None:
    """What is not stored, and why."""
    failures = failure_lines(plan, state)
    if failures:
        cells = ((line.provider, line.reason, line.message, line.items) for line in failures)
        columns = ("provider", "reason", "message")
        output.rows("Not stored, and why", columns, cells, right=("items",), to_stderr=to_stderr)


def what_next(plan: Plan, state: BatchState, root: str) -> list[str]:
    """What `resume` and `reconcile` would do, and cost; nothing where neither would do anything."""
    planned = [item for item in plan.items if state[item.index].phase is Phase.PLANNED]
    paid = sum(_is_paid_and_unfinished(state[item.index]) for item in plan.items)
    where = f"{shlex.quote(plan.batch_id)} --output {shlex.quote(root)}"
    stores = f"stores {paid} that are, or may be, paid for" if paid else ""
    said = []
    if planned:
        creates = f"creates {estimate_text(estimate_lines(planned))}"
        said.append(f"prefect-imagine resume {where}: {' and '.join(filter(None, (creates, stores)))}")
    if paid:
        said.append(f"prefect-imagine reconcile {where}: {stores}, creates nothing")
    return said


def _is_paid_and_unfinished(item: ItemState) -> bool:
    return item.phase in (Phase.OPEN, Phase.CREATED, Phase.FINISHED, Phase.UNKNOWN)
