"""What a run leaves in the Prefect UI: the bill and the failures as tables, and a link to the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from prefect.artifacts import acreate_link_artifact, acreate_table_artifact

from prefect_imagine.batches.failures import FailureLine
from prefect_imagine.batches.preflight import EstimateLine
from prefect_imagine.batches.summary import Summary
from prefect_imagine.batches.usage import Usage, UsageLine
from prefect_imagine.errors import InvalidPromptsError

USAGE_KEY = "imagine-usage"
FAILURES_KEY = "imagine-failures"
ESTIMATE_KEY = "imagine-estimate"
PROBLEMS_KEY = "imagine-problems"
REPORT_KEY = "imagine-report"
RECONCILED_KEY = "imagine-reconciled"
PROGRESS_KEY = "imagine-progress"


async def publish(summary: Summary, usage: Usage, failures: Iterable[FailureLine], report_link: str) -> None:
    """Publish the bill and what failed, under keys that keep their history, and the report of this batch."""
    await acreate_table_artifact(
        table=usage_rows(usage.by_model),
        key=USAGE_KEY,
        description=(
            f"Batch `{usage.batch_id}`: {summary.items.stored} of {summary.items.total} stored. Charged: as "
            "the provider said; estimated: by a price list; unpriced jobs are in neither."
        ),
    )
    await acreate_table_artifact(
        table=[line.model_dump() | {"examples": "; ".join(line.examples)} for line in failures],
        key=FAILURES_KEY,
        description=(
            f"Batch `{usage.batch_id}`: {summary.items.failed} failed, {summary.items.unknown} unknown. "
            "What was charged for them is what the provider said."
        ),
    )
    await acreate_link_artifact(
        link=report_link,
        link_text=f"Report of {usage.batch_id}",
        key=REPORT_KEY,
        description=f"Contact sheet and bill of batch `{usage.batch_id}`.",
    )


async def publish_estimate(batch_id: str, lines: Iterable[EstimateLine]) -> None:
    """Publish what a batch would cost."""
    await acreate_table_artifact(
        table=[asdict(line) for line in lines],
        key=ESTIMATE_KEY,
        description=f"What batch `{batch_id}` would cost; nothing was created.",
    )


async def publish_problems(error: InvalidPromptsError) -> None:
    """Publish everything that is wrong with the prompts."""
    await acreate_table_artifact(
        table=[{"row": each.row, "column": each.column, "problem": each.message} for each in error.problems],
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
    await acreate_table_artifact(
        table=[{"batch": each.batch_id, "outcome": each.outcome} for each in looked_at],
        key=RECONCILED_KEY,
        description="Unsettled batches, looked at again.",
    )


def usage_rows(lines: Iterable[UsageLine]) -> list[dict[str, Any]]:
    """The bill as rows of a table."""
    return [line.model_dump(exclude={"possible"}) | {"possibly charged": line.possible} for line in lines]
