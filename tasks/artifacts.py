"""What a run leaves in the Prefect UI: the bill as a table, and a link to the report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from prefect.artifacts import acreate_link_artifact, acreate_table_artifact

from prefect_imagine.batches.summary import Summary
from prefect_imagine.batches.usage import Usage, UsageLine

USAGE_KEY = "imagine-usage"


async def publish(summary: Summary, usage: Usage, report_link: str) -> None:
    """Publish the bill under a key that keeps its history, and the report of this batch."""
    await acreate_table_artifact(
        table=usage_rows(usage.by_model),
        key=USAGE_KEY,
        description=(
            f"Batch `{usage.batch_id}`: {summary.items.stored} of {summary.items.total} stored. Charged: as "
            "the provider said; estimated: by a price list; unpriced jobs are in neither."
        ),
    )
    await acreate_link_artifact(
        link=report_link,
        link_text=f"Report of {usage.batch_id}",
        key=artifact_key(f"imagine-report-{usage.batch_id}"),
        description=f"Contact sheet and bill of batch `{usage.batch_id}`.",
    )


def usage_rows(lines: Iterable[UsageLine]) -> list[dict[str, Any]]:
    """The bill as rows of a table."""
    return [line.model_dump(exclude={"possible"}) | {"possibly charged": line.possible} for line in lines]


def artifact_key(text: str) -> str:
    """A text as Prefect wants artifact keys: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
