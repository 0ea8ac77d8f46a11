"""`credits`: what all batches under a root cost, as the flow `credit-report` shows it. It needs no Prefect
server and, but for balances, no key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Annotated, Any, get_args

from cyclopts import Parameter

from prefect_imagine.batches.index import leave_out
from prefect_imagine.billing.ledger import LedgerLine
from prefect_imagine.billing.money import money_text, told_by_provider
from prefect_imagine.billing.spending import By, CreditReport, Left, described, left, read_report, spent
from prefect_imagine.billing.usage import AMOUNTS, COUNTS, Tally
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.books.budgets import show_budgets
from prefect_imagine.cli.options import (
    DEFAULT_OUTPUT,
    Credentials,
    CreditPrices,
    Json,
    Output,
    alternatives,
    choice,
    value,
)
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.balances import AccountBalance, read_balances
from prefect_imagine.redaction import printable
from prefect_imagine.reports.summary import SOME_FAILED
from prefect_imagine.stores import Store, open_store

DAYS = 30.0
FORMAT = alternatives()
_SHOWN = ("items", "stored", "failed", "under_way", *AMOUNTS, "unpriced")


def credits(
    *,
    under: Output = DEFAULT_OUTPUT,
    by: Annotated[By, choice("grouping", get_args(By), "WHAT", "one line for each of these")] = "provider",
    days: Annotated[float, value(values.days, "N")] = DAYS,
    time_zone: Annotated[tzinfo, value(values.time_zone, "TZ"), Parameter(show_default="UTC")] = UTC,
    balances: bool = False,
    credentials: Credentials = (),
    credit_price: CreditPrices = (),
    json: Annotated[Json, Parameter(group=FORMAT)] = False,
    csv: Annotated[bool, Parameter(group=FORMAT)] = False,
) -> int:
    """What was spent over all batches, from their books.

    Args:
        by: one line for each of these.
        days: go back so many days, the first of them as a whole.
        time_zone: whose days are meant, such as Europe/Berlin.
        balances: ask the accounts with a key what is left, and hold it against the books.
        credit_price: what a credit costs of items planned without.
        csv: the lines as CSV on stdout.
    """
    now = datetime.now(time_zone)

    def note(batch_id: str, error: StoreError) -> None:
        leave_out(batch_id, error)
        output.complain(f"batch {batch_id} cannot be read and is in none of the sums: {error}")

    told = _balances(dict(credentials)) if balances else []
    with closing(open_store(absolute(under))) as store:
        report = read_report(
            store, days, now, note, balances=told, told_at=utc_now(), prices=dict(credit_price)
        )
        _show_report(report, by, now, to_stderr=json or csv)
        if csv:
            _print_csv(by, spent(report.ledger, by))
        if json:
            about = {"output": store.address, "by": by, "time_zone": str(time_zone)}
            output.print_json(about | _as_json(report, by, now, balances=balances))
        if balances:
            _note(report, store)
    return SOME_FAILED if report.left_out else 0


def _show_report(report: CreditReport, by: By, now: datetime, *, to_stderr: bool) -> None:
    ledger = report.ledger
    span = f"from {ledger.first} to {now.date()} ({now.tzinfo}), {described(ledger)}"
    _show(f"Credits by {by}, {span}", by, spent(ledger, by), to_stderr=to_stderr)
    for told in told_by_provider(spent(ledger, "provider")):
        output.line(told, to_stderr=to_stderr)
    known = left(ledger, report.accounts.balances, now.date())
    if known:
        _show_left(known, to_stderr=to_stderr)
    for each in report.statements:
        output.line(f"{each.provider}: {each.note}", to_stderr=to_stderr)
    if report.budgets:
        show_budgets(report.budgets, to_stderr=to_stderr)


def _print_csv(by: By, lines: Sequence[Tally]) -> None:
    money = sorted({(each.currency, each.source) for line in lines for each in line.money})
    columns = [f"{kind}_{currency}_{source}" for currency, source in money for kind in AMOUNTS]
    rows = ((*_row(line), *_amounts(line, money)) for line in lines)
    output.print_csv((*_columns(by), *columns), rows)


def _as_json(report: CreditReport, by: By, now: datetime, *, balances: bool) -> dict[str, Any]:
    ledger = report.ledger
    told: dict[str, Any] = {
        "first": str(ledger.first),
        "last": str(now.date()),
        "batches": ledger.batches,
        "lines": [_told(by, line) for line in spent(ledger, by)],
        "budgets": [each.model_dump(mode="json") for each in report.budgets],
        "left_out": [{"batch_id": name, "error": error} for name, error in report.left_out.items()],
        "error": None,
    }
    if balances:
        known = left(ledger, report.accounts.balances, now.date())
        told["balances"] = [asdict(each) for each in known]
        told["statements"] = [asdict(each) for each in report.statements]
    return told


def _note(report: CreditReport, store: Store) -> None:
    """Note where the accounts stand. Of a store that may only be read the next report knows as little."""
    try:
        report.note(store)
    except StoreError as error:
        output.say(f"the next report cannot begin where this one ends: {error}")


def _balances(credentials: Mapping[str, str]) -> list[AccountBalance]:
    return asyncio.run(read_balances(accounts_for(credentials), credentials))


def _named(by: By) -> tuple[str, ...]:
    return ("day", "provider") if by == "day" else (by,)


def _columns(by: By) -> tuple[str, ...]:
    return (*_named(by), *COUNTS, *AMOUNTS)


def _names(line: Tally) -> tuple[str, ...]:
    return (str(line.day), line.name) if isinstance(line, LedgerLine) else (line.name,)


def _row(line: Tally) -> tuple[str | int | float, ...]:
    return (*_names(line), *(getattr(line, name) for name in (*COUNTS, *AMOUNTS)))


def _told(by: By, line: Tally) -> dict[str, Any]:
    return dict(zip(_columns(by), _row(line), strict=True)) | line.model_dump(mode="json", include={"money"})


def _amounts(line: Tally, money: Sequence[tuple[str, str]]) -> Iterator[Decimal]:
    """The amounts of a line by currency and by who says what a credit costs, in three columns each."""
    for known in money:
        own = [each for each in line.money if (each.currency, each.source) == known]
        yield from (sum((getattr(each, kind) for each in own), Decimal(0)) for kind in AMOUNTS)


def _show(title: str, by: By, lines: Sequence[Tally], *, to_stderr: bool) -> None:
    money = ("money",) if any(line.money for line in lines) else ()
    cells = [
        (
            *map(printable, _names(line)),
            *(getattr(line, name) or "" for name in _SHOWN),
            *(money_text(line.money) for _ in money),
        )
        for line in lines
    ]
    titles = (*(name.replace("_", " ") for name in _SHOWN), *money)
    output.rows(title, _named(by), cells, right=titles, to_stderr=to_stderr)
    if by == "label":
        output.say("an item with two labels is in two lines")


def _show_left(known: Sequence[Left], *, to_stderr: bool) -> None:
    rows = []
    for each in known:
        lasts = "" if each.days is None else f"{each.days:.0f} days"
        credits = each.note if each.credits is None else each.credits
        rows.append((each.provider, credits, f"{each.charged_a_day:.1f}", lasts))
    output.rows("Left", ("provider", "credits"), rows, right=("charged a day", "lasts"), to_stderr=to_stderr)
