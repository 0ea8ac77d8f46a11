"""Names of tables, and what is said of their columns beyond what rows show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlt.common.data_types import TDataType
    from dlt.common.schema.typing import TColumnSchema

SOURCE = "imagine"
DATASET = "imagine"
BATCHES = "batches"
GENERATIONS = "generations"
USAGE_LINES = "usage_lines"
ATTEMPTS = "attempts"
PROVIDER_JOBS = "provider_jobs"
PROVIDER_LISTS = "provider_lists"

MERGE = {"disposition": "merge", "strategy": "delete-insert"}
CREDITS: TColumnSchema = {"data_type": "decimal", "precision": 38, "scale": 18}
"""Digits in all, and behind the point: exact for whatever a provider may report, in every database."""


def _columns(**types: TDataType | TColumnSchema) -> dict[str, TColumnSchema]:
    """Columns by name, with a type, or with a type and more."""
    columns: dict[str, TColumnSchema] = {}
    for name, kind in types.items():
        columns[name] = {"name": name, "nullable": True}
        columns[name].update(kind if isinstance(kind, dict) else {"data_type": kind})
    return columns


AMOUNTS: dict[str, TColumnSchema] = {"charged": CREDITS, "estimated": CREDITS, "possible": CREDITS}

COLUMNS: dict[str, dict[str, TColumnSchema]] = {
    BATCHES: _columns(
        batch_id="text",
        root="text",
        source="text",
        made_at="timestamp",
        settled="bool",
        shards="bigint",
        items="bigint",
        stored="bigint",
        failed="bigint",
        unknown="bigint",
        under_way="bigint",
        planned="bigint",
        withdrawn="bigint",
        **AMOUNTS,
        unpriced_items="bigint",
        refund_unknown_items="bigint",
        currency="text",
    ),
    GENERATIONS: _columns(
        batch_id="text",
        made_at="timestamp",
        index="bigint",
        item_id="text",
        shard="bigint",
        name="text",
        provider="text",
        kind="text",
        model="text",
        prompt="text",
        settings="json",
        labels="json",
        status="text",
        job_id="text",
        attempts="bigint",
        asked_at="timestamp",
        created_at="timestamp",
        finished_at="timestamp",
        stored_at="timestamp",
        price=CREDITS,
        **AMOUNTS,
        unpriced="bigint",
        refund_unknown="bool",
        currency="text",
        reason="text",
        error="text",
    ),
    USAGE_LINES: _columns(
        batch_id="text",
        made_at="timestamp",
        grouped_by="text",
        name="text",
        items="bigint",
        stored="bigint",
        failed="bigint",
        unknown="bigint",
        under_way="bigint",
        withdrawn="bigint",
        **AMOUNTS,
        unpriced="bigint",
        seconds="double",
        currency="text",
    ),
    ATTEMPTS: _columns(
        batch_id="text",
        made_at="timestamp",
        item="bigint",
        attempt="bigint",
        provider="text",
        job_id="text",
        asked_at="timestamp",
        answered_at="timestamp",
        finished_at="timestamp",
        outcome="text",
        reason="text",
        message="text",
        credits=CREDITS,
        refund="text",
    ),
    PROVIDER_JOBS: _columns(
        provider="text",
        job_id="text",
        account="text",
        status="text",
        provider_status="text",
        kind="text",
        model="text",
        ref="text",
        credits=CREDITS,
        created_at="timestamp",
        finished_at="timestamp",
        read_at="timestamp",
    ),
    PROVIDER_LISTS: _columns(
        provider="text",
        account="text",
        read_at="timestamp",
        read_from="timestamp",
        reaches_to="timestamp",
    ),
}
"""All columns of our tables: they are there even if no row has a value in them."""

NESTED: dict[str, Any] = {
    GENERATIONS: {
        "outputs": {
            "columns": _columns(
                key="text",
                media_type="text",
                bytes="bigint",
                sha256="text",
                thumbnail="text",
                text="text",
            )
        }
    }
}
"""The same of tables that hold what a row has several of."""

BATCH = ("batch_id", "made_at")
"""A batch that is made anew under the name of another is another batch."""
KEYS: dict[str, tuple[str, ...]] = {
    BATCHES: BATCH,
    GENERATIONS: (*BATCH, "index"),
    USAGE_LINES: (*BATCH, "grouped_by", "name"),
    ATTEMPTS: (*BATCH, "item", "attempt"),
    PROVIDER_JOBS: ("provider", "job_id"),
    PROVIDER_LISTS: ("provider", "account"),
}
"""What rows are merged by."""
TOGETHER: dict[str, tuple[str, ...]] = {USAGE_LINES: BATCH, ATTEMPTS: (*BATCH, "item")}
"""Rows that have these in common are replaced together: there may be fewer than before."""
