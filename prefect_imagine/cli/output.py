"""What the command line says, to people on a terminal and to scripts."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prefect_imagine.billing.costs import ItemCost
from prefect_imagine.billing.estimates import EstimateLine
from prefect_imagine.billing.money import estimate_money_text, money_text, told_by_provider
from prefect_imagine.billing.usage import ItemCounts, Usage, UsageLine
from prefect_imagine.reports.summary import CreditCounts, RequestCounts, Summary

UNFOLDED = 200
"""Columns for tables that go to a file or a pipe, where nothing has to fit."""

FOLDED = ("model", "name", "batch", "message", "does", "credits", "money", "url")


def _let_go_of(stream: IO[str]) -> None:
    """Whoever read it has seen enough; nothing is left for the interpreter to write at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Console(Console):
    """Where people read. That they closed their pager says nothing of how the command ended."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _let_go_of(self.file)


errors = _Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else UNFOLDED)


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
        _let_go_of(sys.stdout)


def print_csv(columns: Iterable[str], lines: Iterable[Iterable[object]]) -> None:
    """Lines for a spreadsheet, on stdout: a text that it would compute has an apostrophe before it."""
    try:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_harmless(cell) for cell in line] for line in lines)
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of(sys.stdout)


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell


def contract(summary: Summary) -> dict[str, Any]:
    """A summary as `--json` gives it. Possibly charged credits are in `usage.json`."""
    said = summary.model_dump(
        mode="json",
        exclude={
            "exit_code": True,
            "stopped_by": True,
            "credits": {"possible"},
            "money": {"__all__": {"possible"}},
        },
    )
    left_out = {"plan"} if summary.plan is None else set()
    if not summary.submitted:
        left_out |= {"submitted", "expected_at"}
    if summary.waits_for is None:
        left_out.add("waits_for")
    return {name: value for name, value in said.items() if name not in left_out}


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


def console(*, to_stderr: bool) -> Console:
    """Where people read: stdout, or stderr where a script reads stdout."""
    return errors if to_stderr else _Console(highlight=False, width=None if sys.stdout.isatty() else UNFOLDED)


def line(text: str, *, to_stderr: bool = False) -> None:
    """One line for people, never broken."""
    console(to_stderr=to_stderr).print(escape(text), soft_wrap=True)


def show_usage(usage: Usage, summary: Summary, *, to_stderr: bool) -> None:
    """The final table, and where to look further."""
    money = ("money",) if usage.money else ()
    table = _table("provider", "kind", "model", right=("items", "credits", *money, "seconds"))
    for each in usage.by_model:
        *cells, seconds = _cells(each)
        table.add_row(*cells, *(money_text(each.money) for _ in money), seconds)
    shown = console(to_stderr=to_stderr)
    _print(shown, f"Batch {usage.batch_id}", table)
    items = summary.items
    counts = {
        "failed": items.failed,
        "unknown": items.unknown,
        "under way": items.under_way,
        "planned": items.planned,
        "withdrawn": items.withdrawn,
    }
    missing = "".join(f", {count} {name}" for name, count in counts.items() if count)
    lines = [f"{items.stored} of {items.total} stored{missing}"]
    if usage.unpriced_items:
        lines.append(f"{usage.unpriced_items} items have no price: set one with --price PROVIDER=N")
    if usage.refund_unknown_items:
        lines.append(f"{usage.refund_unknown_items} failed items: whether they were refunded is not known")
    lines += told_by_provider(usage.by_provider)
    for change in usage.balances:
        lines.append(
            f"{change.provider}: {change.before} credits before, {change.after} after: {change.note}"
        )
    for said in lines:
        shown.print(escape(said), soft_wrap=True)
    if summary.error:
        shown.print(f"[bold red]stopped:[/] {escape(summary.error)}", soft_wrap=True)
    if not summary.submitted:
        shown.print(f"report: {escape(summary.report)}", soft_wrap=True)


def _cells(line: UsageLine) -> tuple[str, ...]:
    provider, kind, model = line.name.split("/", 2)
    items = str(line.items) if line.stored == line.items else f"{line.stored} of {line.items}"
    seconds = "" if line.seconds is None else f"{line.seconds:.1f}"
    return provider, kind, model, items, credits_told(line, line.unpriced), seconds


def credits_told(bill: UsageLine | Usage | ItemCost, unpriced: int) -> str:
    """Kinds of credits side by side, since nothing may add them up; `unpriced` are jobs, or items."""
    amounts = {
        "": bill.charged,
        " est.": bill.estimated,
        " possible": bill.possible,
        " unpriced": unpriced,
    }
    return " + ".join(f"{amount}{kind}" for kind, amount in amounts.items() if amount) or "0"


def show_estimate(lines: Sequence[EstimateLine], *, to_stderr: bool) -> None:
    """What a dry run found."""
    money = ("money",) if any(line.money for line in lines) else ()
    table = _table("provider", "kind", "model", right=("items", "credits", *money, "price"))
    for line in lines:
        amount = "" if line.credits is None else str(line.credits)
        amounts = (amount, *(estimate_money_text(line.money) for _ in money))
        table.add_row(line.provider, line.kind, escape(line.model), str(line.items), *amounts, line.basis)
    _print(console(to_stderr=to_stderr), "Estimate: nothing was created", table)


def rows(
    title: str,
    columns: Iterable[str],
    cells: Iterable[Iterable[object]],
    *,
    right: Iterable[str] = (),
    to_stderr: bool = False,
) -> None:
    """A plain table; `right` are further columns, of numbers."""
    table = _table(*columns, right=right)
    for row in cells:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    _print(console(to_stderr=to_stderr), title, table)


def _table(*left: str, right: Iterable[str] = ()) -> Table:
    """A table without frames, of which only what is long by nature is folded where the terminal is narrow."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in left:
        table.add_column(column, overflow="fold", no_wrap=column not in FOLDED)
    for column in right:
        table.add_column(column, justify="right", no_wrap=column not in FOLDED)
    return table


def _print(where: Console, title: str, table: Table) -> None:
    where.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    where.print(table)
