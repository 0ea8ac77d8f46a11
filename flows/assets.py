"""A batch's stored outputs as an asset of Prefect: what it was made of, and what came of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prefect.assets import Asset, AssetProperties
from prefect.client.schemas.objects import State
from prefect.context import AssetContext
from pydantic import ValidationError

from prefect_imagine.batches.origin import read_origin
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

MATERIALIZED_BY = "prefect-imagine"
_BUCKET = "s3://"


async def publish_asset(store: Store, summary: Summary, state: State[Any], source: str | None = None) -> None:
    """Tell Prefect that a run has materialized a batch, or failed to, as its state says. Where nothing of the
    batch is stored, or the run was cancelled, it tells nothing. What fails here is a line in the log.

    Args:
        source: what the run took its prompts from; the batch's own origin where that is not said.
    """
    if not summary.items.stored:
        return
    try:
        if source is None:
            origin = await asyncio.to_thread(read_origin, store, summary.batch_id)
            source = None if origin is None else origin.source
        # Prefect's decorator `materialize` would need a task run, which a run that was stopped cannot begin.
        _context(store, summary, source).emit_events(state)
    except ValidationError:
        key = asset_key(store, summary.batch_id)
        logger.warning("batch %s is no asset: Prefect takes no key like %s", summary.batch_id, key)
    except Exception as error:  # nothing hangs on it
        logger.warning("batch %s is announced as no asset: %s", summary.batch_id, _first_line(error))


def asset_key(store: Store, batch_id: str) -> str:
    """The address of a batch: `s3://bucket/prefix/batch`, or `file:///folder/batch`."""
    root = store.address if store.address.startswith(_BUCKET) else f"file://{store.address}"
    return f"{root}/{batch_id}"


def _context(store: Store, summary: Summary, source: str | None) -> AssetContext:
    key = asset_key(store, summary.batch_id)
    return AssetContext(
        downstream_assets={Asset(key=key, properties=AssetProperties(name=summary.batch_id))},
        direct_asset_dependencies=_prompts(source),
        materialized_by=MATERIALIZED_BY,
        materialization_metadata={key: _metadata(summary)},
    )


def _prompts(source: str | None) -> set[Asset]:
    if source is None or not source.startswith(_BUCKET):
        return set()
    try:
        return {Asset(key=source)}
    except ValidationError:
        logger.info("%s can be no asset's key: what the batch is made of is left out", source)
        return set()


def _metadata(summary: Summary) -> dict[str, Any]:
    items = summary.items
    return {
        "items": items.wanted,
        "stored": items.stored,
        "failed": items.failed,
        "unknown": items.unknown,
        **summary.credits.model_dump(),
        "report": summary.report,
    }


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(error).__name__
