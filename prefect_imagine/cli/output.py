"""What the command line says, to people on a terminal and to scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prefect_imagine.batches.preflight import EstimateLine
from prefect_imagine.batches.summary import CreditCounts, ItemCounts, RequestCounts, Summary
from prefect_imagine.batches.usage import Usage, UsageLine

errors = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """A line for people; on stderr, since stdout may be read by a script."""
    errors.print(escape(message), soft_wrap=True)


def complain(message: str) -> None:
    """What went wrong."""
    errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One object, on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def contract(summary: Summary) -> dict[str, Any]:
    """A summary as `--json` gives it."""
    return summary.model_dump(mode="json", exclude={"exit_code"})


def nothing_done(message: str, exit_code: int, batch_id: str = "") -> Summary:
    """The summary of a run that ended before it knew anything."""
    return Summary(
        batch_id=batch_id,
        items=ItemCounts(),
        credits=CreditCounts(),
        unpriced_items=0,
        requests=RequestCounts(),
        manifest="",
        report="",
        error=message,
        exit_code=exit_code,
    )


def show_usage(usage: Usage, summary: Summary, *, to_stderr: bool) -> None:
    """The final table, and where to look further."""
    console = errors if to_stderr else Console(highlight=False)
    table = Table(title=f"Batch {escape(usage.batch_id)}", title_justify="left")
    for column in ("provider", "kind", "model"):
        table.add_column(column, overflow="fold")
    for column in ("items", "stored", "failed", "charged", "estimated", "unpriced", "seconds"):
        table.add_column(column, justify="right")
    for line in usage.by_model:
        table.add_row(*_cells(line))
    console.print(table)
    items = summary.items
    counts = {"failed": items.failed, "unknown": items.unknown, "not created": items.planned}
    missing = "".join(f", {count} {name}" for name, count in counts.items() if count)
    console.print(f"{items.stored} of {items.total} stored{missing}")
    if usage.unpriced_items:
        console.print(f"{usage.unpriced_items} items have no price: set one with --price PROVIDER=N")
    if usage.refund_unknown_items:
        console.print(f"{usage.refund_unknown_items} failed items: whether they were refunded is not known")
    for change in usage.balances:
        console.print(
            escape(f"{change.provider}: {change.before} credits before, {change.after} after: {change.note}")
        )
    if summary.error:
        console.print(f"[bold red]stopped:[/] {escape(summary.error)}", soft_wrap=True)
    console.print(f"report: {escape(summary.report)}", soft_wrap=True)


def _cells(line: UsageLine) -> list[str]:
    provider, kind, model = line.name.split("/", 2)
    seconds = "" if line.seconds is None else f"{line.seconds:.1f}"
    unpriced = str(line.unpriced) if line.unpriced else ""
    return [
        provider,
        kind,
        escape(model),
        *(str(count) for count in (line.items, line.stored, line.failed, line.charged, line.estimated)),
        unpriced,
        seconds,
    ]


def show_estimate(lines: Iterable[EstimateLine], *, to_stderr: bool) -> None:
    """What a dry run found."""
    console = errors if to_stderr else Console(highlight=False)
    table = Table(title="Estimate: nothing was created", title_justify="left")
    for column in ("provider", "kind", "model"):
        table.add_column(column, overflow="fold")
    for column in ("items", "credits", "by"):
        table.add_column(column, justify="right")
    for line in lines:
        amount = "unpriced" if line.credits is None else str(line.credits)
        table.add_row(line.provider, line.kind, escape(line.model), str(line.items), amount, line.source)
    console.print(table)


def rows(title: str, columns: Iterable[str], cells: Iterable[Iterable[object]]) -> None:
    """A plain table on stdout."""
    table = Table(title=escape(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    Console(highlight=False).print(table)
