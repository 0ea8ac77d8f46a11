"""What a run leaves in the Prefect UI: the bill and the failures as tables, and a link to the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact, acreate_table_artifact

from prefect_imagine.billing.estimates import EstimateLine
from prefect_imagine.billing.money import estimate_money_text, money_text
from prefect_imagine.billing.usage import Usage, UsageLine
from prefect_imagine.errors import InvalidPromptsError
from prefect_imagine.reports.failures import FailureLine
from prefect_imagine.reports.summary import Summary

USAGE_KEY = "imagine-usage"
FAILURES_KEY = "imagine-failures"
ESTIMATE_KEY = "imagine-estimate"
PROBLEMS_KEY = "imagine-problems"
REPORT_KEY = "imagine-report"
RECONCILED_KEY = "imagine-reconciled"
PROGRESS_KEY = "imagine-progress"
LOADED_KEY = "imagine-loaded"
_OPENS = re.compile(r"(?<=[\]<])")


async def publish(summary: Summary, usage: Usage, failures: Iterable[FailureLine], report_link: str) -> None:
    """Publish the bill and what failed, under keys that keep their history, and the report of this batch."""
    await publish_table(
        rows=usage_rows(usage.by_model),
        key=USAGE_KEY,
        description=(
            f"Batch `{usage.batch_id}`: {summary.items.stored} of {summary.items.total} stored. Charged: as "
            "the provider said; estimated: by a price list; unpriced jobs are in neither."
        ),
    )
    await publish_table(
        rows=[failure_row(line) for line in failures],
        key=FAILURES_KEY,
        description=(
            f"Batch `{usage.batch_id}`: {summary.items.failed} failed, {summary.items.unknown} unknown. "
            "What was charged for them is what the provider said."
        ),
    )
    await publish_report(usage.batch_id, report_link)


async def publish_report(batch_id: str, link: str) -> None:
    """Publish where the report of a batch can be opened."""
    description = f"Contact sheet and bill of batch `{batch_id}`."
    if link.startswith(("http://", "https://")):
        await acreate_link_artifact(
            link=link, link_text=f"Report of {batch_id}", key=REPORT_KEY, description=description
        )
    else:  # a page of the server cannot link to a file
        await acreate_markdown_artifact(
            markdown=f"The report of **{batch_id}** is a file:\n\n```text\n{link}\n```",
            key=REPORT_KEY,
            description=description,
        )


async def publish_table(rows: Iterable[Mapping[str, Any]], key: str, description: str) -> None:
    """Publish rows as a table whose text stays text.

    Prefect's old UI takes cells for Markdown: prompts and labels would become links and pictures there. A
    space of no width keeps brackets from meaning anything, and shows in neither UI.
    """
    table = [
        {name: _OPENS.sub("\u200b", cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in rows
    ]
    await acreate_table_artifact(table=table, key=key, description=description)


async def publish_estimate(batch_id: str, lines: Sequence[EstimateLine]) -> None:
    """Publish what a batch would cost."""
    await _publish_lines(lines, f"What batch `{batch_id}` would cost; nothing was created.")


async def publish_approved(batch_id: str, lines: Sequence[EstimateLine], changes: str) -> None:
    """Publish what a person has approved of a batch, with what they want otherwise."""
    await _publish_lines(lines, f"What batch `{batch_id}` may create, as it was approved{changes}.")


async def _publish_lines(lines: Sequence[EstimateLine], description: str) -> None:
    await publish_table(estimate_rows(lines), ESTIMATE_KEY, description)


async def publish_problems(error: InvalidPromptsError) -> None:
    """Publish everything that is wrong with the prompts."""
    await publish_table(
        rows=[{"row": each.row, "column": each.column, "problem": each.message} for each in error.problems],
        key=PROBLEMS_KEY,
        description="What is wrong with the prompts; nothing was created.",
    )


@dataclass(frozen=True)
class Reconciled:
    """What became of looking at one batch again."""

    batch_id: str
    outcome: str
    failed: bool = False


async def publish_reconciled(looked_at: Iterable[Reconciled]) -> None:
    """Publish what became of looking at unsettled batches again."""
    await publish_table(
        rows=[{"batch": each.batch_id, "outcome": each.outcome} for each in looked_at],
        key=RECONCILED_KEY,
        description="Unsettled batches, looked at again.",
    )


def usage_rows(lines: Sequence[UsageLine]) -> list[dict[str, Any]]:
    """The bill as rows of a table, what it comes to first: the UI cuts wide tables off."""
    amounts = money_column([money_text(line.money) for line in lines])
    return [
        {
            "name": line.name,
            "charged": line.charged,
            "estimated": line.estimated,
            **money,
            "items": line.items,
            "stored": line.stored,
            "failed": line.failed,
            "unknown": line.unknown,
            "withdrawn": line.withdrawn,
            "possibly charged": line.possible,
            "unpriced": line.unpriced,
            "seconds": line.seconds,
        }
        for line, money in zip(lines, amounts, strict=True)
    ]


def estimate_rows(lines: Sequence[EstimateLine]) -> list[dict[str, Any]]:
    """An estimate as rows of a table."""
    amounts = money_column([estimate_money_text(line.money) for line in lines])
    return [
        {
            "provider": line.provider,
            "kind": line.kind,
            "model": line.model,
            "items": line.items,
            "credits": line.credits,
            **money,
            "source": line.basis,
        }
        for line, money in zip(lines, amounts, strict=True)
    ]


def money_column(amounts: Sequence[str]) -> list[dict[str, str]]:
    """A column of amounts in money, one for each line; none where no line has any."""
    return [{"money": amount} if any(amounts) else {} for amount in amounts]


def failure_row(line: FailureLine) -> dict[str, Any]:
    """A reason for failures as a row of a table."""
    return {
        "provider": line.provider,
        "reason": line.reason,
        "items": line.items,
        "message": line.message,
        "examples": "; ".join(line.examples),
        "charged": line.charged,
    }


async def publish_loaded(place: str, rows: Mapping[str, int]) -> None:
    """Publish how many rows of which table went into a warehouse."""
    table = [{"table": name, "rows": count} for name, count in sorted(rows.items())]
    await publish_table(table, key=LOADED_KEY, description=f"New or changed, into {place}.")
