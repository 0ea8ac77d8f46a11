"""The credit report in the Prefect UI: a page to read, and tables that keep their history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from prefect.artifacts import acreate_markdown_artifact

from prefect_imagine.billing.budgets.standing import BudgetStanding
from prefect_imagine.billing.ledger import Ledger, LedgerLine, daily, provider_of
from prefect_imagine.billing.money import money_text, told_by_provider
from prefect_imagine.billing.spending import WEEK, By, CreditReport, described, left, spent
from prefect_imagine.billing.statements import Statement
from prefect_imagine.billing.usage import AMOUNTS
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.tasks.artifacts import money_column, publish_table

REPORT_KEY = "imagine-credit-report"
MODELS_KEY = "imagine-credits-by-model"
LABELS_KEY = "imagine-credits-by-label"
TREND_DAYS = 14
_SUMMED = ("items", "stored", "failed", "under_way", *AMOUNTS, "unpriced")
_HEADS = tuple(name.replace("_", " ") for name in _SUMMED)
_BARS = "▁▂▃▄▅▆▇█"


async def publish_credits(report: CreditReport, today: date) -> None:
    """Publish what was spent and what is left."""
    ledger = report.ledger
    await acreate_markdown_artifact(
        markdown=render(report, today), key=REPORT_KEY, description="Credits: spent, and left."
    )
    for key, lines, what in (
        (MODELS_KEY, ledger.by_model, "by provider, kind and model"),
        (LABELS_KEY, ledger.by_label, "by label; an item with two labels is in two lines"),
    ):
        await publish_table(table(lines), key=key, description=f"Credits a day since {ledger.first}, {what}.")


def table(lines: Iterable[LedgerLine]) -> list[dict[str, Any]]:
    """Lines as rows of a table, the day first."""
    known = list(lines)
    amounts = money_column([money_text(line.money) for line in known])
    return [
        {"day": str(line.day), **line.model_dump(exclude={"day", "money"}), **money}
        for line, money in zip(known, amounts, strict=True)
    ]


def render(report: CreditReport, today: date) -> str:
    """The report as Markdown. Charged credits and estimates, and those of different providers, are
    different things: nothing adds them up."""
    ledger, balances = report.ledger, report.accounts.balances
    return "\n".join(
        [
            "# Credits",
            f"From {ledger.first} to {today}.",
            f"{described(ledger)}. Charged: as the provider said. Estimated: by a price list, where it "
            "is silent. Possible: creates whose fate is unknown.",
            "## Left",
            *_rows(("provider", "credits", "charged a day", "lasts"), _left(ledger, balances, today)),
            *_statements(report.statements),
            *_budgets(report.budgets),
            "## Spent by provider",
            *_rows(
                ("provider", "credits", "today", "7 days", "the 7 before", "all", f"{TREND_DAYS} days"),
                _spent(ledger, today),
            ),
            *_money(ledger),
            "## Spent by model",
            *_sums(ledger, "model"),
            "## Spent by label",
            *_sums(ledger, "label"),
        ]
    )


def _left(ledger: Ledger, balances: Sequence[AccountBalance], today: date) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for each in left(ledger, balances, today):
        if each.credits is None:
            rows.append((each.provider, each.note, "", ""))
        else:
            lasts = "" if each.days is None else f"{each.days:.0f} days"
            rows.append((each.provider, each.credits, f"{each.charged_a_day:.1f}", lasts))
    return rows


def _statements(statements: Sequence[Statement]) -> list[str]:
    """What became of the balances since the last report."""
    told = [f"- {_cell(f'{each.provider}: {each.note}')}" for each in statements]
    return ["## Against the accounts", "", *told, ""] if told else []


def _budgets(budgets: Sequence[BudgetStanding]) -> list[str]:
    """What is left of each budget of the root, and for how long."""
    if not budgets:
        return []
    amounts = ("limit", *AMOUNTS, "reserved", "left")
    rows = [
        (
            each.named,
            each.provider,
            each.period,
            *(getattr(each, name) for name in amounts),
            f"{each.used_up_at:%Y-%m-%d}" if each.used_up_at is not None else "",
        )
        for each in budgets
    ]
    return ["## Budgets", *_rows(("budget", "provider", "period", *amounts, "used up"), rows)]


def _spent(ledger: Ledger, today: date) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for provider in ledger.providers:
        own = [line for line in ledger.by_model if provider_of(line.name) == provider]
        for amount in AMOUNTS:
            everything = add_credits(getattr(line, amount) for line in own)
            days = daily(own, amount, today, TREND_DAYS)
            if everything:
                week, before = add_credits(days[-WEEK:]), add_credits(days[:-WEEK])
                rows.append((provider, amount, days[-1], week, before, everything, sparkline(days)))
    return rows


def _money(ledger: Ledger) -> list[str]:
    """What the providers' credits cost in money, as far as that is known, and who says so."""
    known = spent(ledger, "provider")
    rows = [(each.name, money_text(each.money)) for each in known if each.money]
    if not rows:
        return []
    told = [f"- {_cell(each)}" for each in told_by_provider(known)]
    return ["## In money", *_rows(("provider", "money"), rows), *told, ""]


def _sums(ledger: Ledger, by: By) -> list[str]:
    lines = spent(ledger, by)
    amounts = money_column([money_text(each.money) for each in lines])
    rows = [
        (*(getattr(each, column) for column in ("name", *_SUMMED)), *money.values())
        for each, money in zip(lines, amounts, strict=True)
    ]
    return _rows((by, *_HEADS, *(name for money in amounts[:1] for name in money)), rows)


def sparkline(amounts: Sequence[int | float]) -> str:
    """Amounts as a row of bars."""
    top = max(amounts, default=0)
    if not top:
        return _BARS[0] * len(amounts)
    return "".join(_BARS[round(amount / top * (len(_BARS) - 1))] for amount in amounts)


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return ["Nothing.", ""]
    lines = [head, ["---"] * len(head), *rows]
    return ["", *(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines), ""]


def _cell(value: object) -> str:
    """A value as a cell: labels and models are other people's text."""
    text = " ".join(str(value).split())
    return "".join(f"\\{sign}" if sign in "\\|`*_<>[]" else sign for sign in text)
