"""The end of a command on a batch: the bill, what is not stored and why, and what would go on with it."""

from __future__ import annotations

import shlex

from prefect_imagine.billing.estimates import estimate_text
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output
from prefect_imagine.reports.position import Position
from prefect_imagine.reports.summary import Summary


def show_end(position: Position, summary: Summary, usage: Usage, root: str, *, to_stderr: bool) -> None:
    """The bill of a batch, its failures by reason, and the commands that go on with it."""
    output.show_usage(usage, summary, to_stderr=to_stderr)
    show_failures(position, to_stderr=to_stderr)
    if summary.submitted:
        output.line(_submitted_text(summary, root), to_stderr=to_stderr)
        return
    for line in what_next(position, usage.batch_id, root):
        output.line(line, to_stderr=to_stderr)


def _submitted_text(summary: Summary, root: str) -> str:
    """What takes the jobs in that were let go, and when."""
    when = f", the last of them expected by {summary.expected_at:%H:%M:%S} UTC" if summary.expected_at else ""
    jobs = f"{summary.items.under_way} that are under way"
    return f"prefect-imagine collect --output {shlex.quote(root)}: stores {jobs}{when}"


def show_failures(position: Position, *, to_stderr: bool) -> None:
    """What is not stored, and why."""
    if position.failures:
        cells = ((line.provider, line.reason, line.message, line.items) for line in position.failures)
        columns = ("provider", "reason", "message")
        output.rows("Not stored, and why", columns, cells, right=("items",), to_stderr=to_stderr)


def what_next(position: Position, batch_id: str, root: str) -> list[str]:
    """What `resume` and `reconcile` would do, and cost; nothing where neither would do anything."""
    paid = position.paid
    where = f"{shlex.quote(batch_id)} --output {shlex.quote(root)}"
    stores = f"stores {paid} that are, or may be, paid for" if paid else ""
    said = []
    if position.planned:
        creates = f"creates {estimate_text(position.planned)}"
        said.append(f"prefect-imagine resume {where}: {' and '.join(filter(None, (creates, stores)))}")
    if paid:
        said.append(f"prefect-imagine reconcile {where}: {stores}, creates nothing")
    return said
