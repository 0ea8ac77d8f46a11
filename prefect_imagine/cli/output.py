"""What the command line says, to people on a terminal and to scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prefect_imagine.batches.preflight import EstimateLine
from prefect_imagine.batches.summary import CreditCounts, ItemCounts, RequestCounts, Summary
from prefect_imagine.batches.usage import Usage, UsageLine

UNFOLDED = 200
"""Columns for tables that go to a file or a pipe, where nothing has to fit."""

errors = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else UNFOLDED)


def say(message: str) -> None:
    """A line for people; on stderr, since stdout may be read by a script."""
    errors.print(escape(message), soft_wrap=True)


def complain(message: str) -> None:
    """What went wrong."""
    errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One object, on one line of stdout; in ASCII, which every terminal and pipe takes."""
    try:
        sys.stdout.write(json.dumps(value, default=str) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough; nothing is left for the interpreter to write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def contract(summary: Summary) -> dict[str, Any]:
    """A summary as `--json` gives it. Possibly charged credits are in `usage.json`."""
    return summary.model_dump(
        mode="json", exclude={"exit_code": True, "stopped_by": True, "credits": {"possible"}}
    )


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
    console = errors if to_stderr else _stdout()
    table = _table("provider", "kind", "model", right=("items", "credits", "seconds"))
    for line in usage.by_model:
        table.add_row(*_cells(line))
    _print(console, f"Batch {usage.batch_id}", table)
    items = summary.items
    counts = {"failed": items.failed, "unknown": items.unknown, "unfinished": items.planned}
    missing = "".join(f", {count} {name}" for name, count in counts.items() if count)
    lines = [f"{items.stored} of {items.total} stored{missing}"]
    if usage.unpriced_items:
        lines.append(f"{usage.unpriced_items} items have no price: set one with --price PROVIDER=N")
    if usage.refund_unknown_items:
        lines.append(f"{usage.refund_unknown_items} failed items: whether they were refunded is not known")
    for change in usage.balances:
        lines.append(
            f"{change.provider}: {change.before} credits before, {change.after} after: {change.note}"
        )
    for said in lines:
        console.print(escape(said), soft_wrap=True)
    if summary.error:
        console.print(f"[bold red]stopped:[/] {escape(summary.error)}", soft_wrap=True)
    console.print(f"report: {escape(summary.report)}", soft_wrap=True)


def _cells(line: UsageLine) -> tuple[str, ...]:
    provider, kind, model = line.name.split("/", 2)
    items = str(line.items) if line.stored == line.items else f"{line.stored} of {line.items}"
    seconds = "" if line.seconds is None else f"{line.seconds:.1f}"
    return provider, kind, model, items, _credits(line), seconds


def _credits(line: UsageLine) -> str:
    """Kinds of credits side by side, since nothing may add them up."""
    amounts = {
        "": line.charged,
        " est.": line.estimated,
        " possible": line.possible,
        " unpriced": line.unpriced,
    }
    return " + ".join(f"{amount}{kind}" for kind, amount in amounts.items() if amount) or "0"


def show_estimate(lines: Iterable[EstimateLine], *, to_stderr: bool) -> None:
    """What a dry run found."""
    table = _table("provider", "kind", "model", right=("items", "credits", "price"))
    for line in lines:
        amount = "" if line.credits is None else str(line.credits)
        table.add_row(line.provider, line.kind, escape(line.model), str(line.items), amount, line.source)
    _print(errors if to_stderr else _stdout(), "Estimate: nothing was created", table)


def rows(title: str, columns: Iterable[str], cells: Iterable[Iterable[object]]) -> None:
    """A plain table on stdout."""
    table = _table(*columns)
    for row in cells:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    _print(_stdout(), title, table)


def _stdout() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else UNFOLDED)


def _table(*left: str, right: Iterable[str] = ()) -> Table:
    """A table without frames, of which `model` alone is folded where the terminal is narrow."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in left:
        table.add_column(column, overflow="fold", no_wrap=column not in ("model", "name"))
    for column in right:
        table.add_column(column, justify="right", no_wrap=column != "credits")
    return table


def _print(console: Console, title: str, table: Table) -> None:
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    console.print(table)
