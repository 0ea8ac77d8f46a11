"""Rows of tables, of what a root holds and of what providers show. Credits are exact decimals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.attempts import Attempt
from prefect_imagine.billing.costs import total_cost
from prefect_imagine.billing.usage import AMOUNTS, UsageLine
from prefect_imagine.clock import utc_now
from prefect_imagine.providers.models import Generation, Output
from prefect_imagine.warehouse.changes import ChangedBatch, ChangedShard
from prefect_imagine.warehouse.jobs import ListRead
from prefect_imagine.warehouse.values import exact, in_utc, storable

Row = dict[str, Any]


def batch_rows(batch: ChangedBatch) -> list[Row]:
    """The one row of a batch."""
    usage = batch.bill.usage(utc_now())
    counts = batch.bill.counts.model_dump()
    return [
        {
            "batch_id": batch.batch_id,
            "root": batch.root,
            "source": batch.source,
            "made_at": batch.made_at,
            "settled": batch.settled,
            "shards": batch.shards,
            "items": counts.pop("total"),
            **counts,
            **{name: exact(getattr(usage, name)) for name in AMOUNTS},
            "unpriced_items": usage.unpriced_items,
            "refund_unknown_items": usage.refund_unknown_items,
            "currency": None,
        }
    ]


def usage_rows(batch: ChangedBatch) -> list[Row]:
    """The bill of a batch, line by line; an item is in a line of each group, and in one for each label."""
    usage = batch.bill.usage(utc_now())
    groups = {"provider": usage.by_provider, "model": usage.by_model, "label": usage.by_label}
    return [_usage_row(batch, group, line) for group, lines in groups.items() for line in lines]


def _usage_row(batch: ChangedBatch, group: str, line: UsageLine) -> Row:
    amounts = {name: exact(getattr(line, name)) for name in AMOUNTS}
    told = line.model_dump(exclude={"money"}) | {"name": storable(line.name)}
    of = {"batch_id": batch.batch_id, "made_at": batch.made_at, "grouped_by": group}
    return of | told | amounts | {"currency": None}


def generation_rows(shard: ChangedShard, *, prompts: bool) -> Iterator[Row]:
    """Rows of the items of a shard of which something is new, with their outputs.

    Args:
        prompts: with prompts, and all else that may quote them.
    """
    for index in shard.items:
        known = shard.chronicle.state[index]
        row = storable(_generation_row(shard, shard.plan.item(index).by(known.alternative), known))
        yield row if prompts else _without_prompts(row)


def _generation_row(shard: ChangedShard, item: BatchItem, known: ItemState) -> Row:
    request, cost = item.request, total_cost(item, known)
    return {
        "batch_id": shard.plan.batch_id,
        "made_at": shard.made_at,
        "index": item.index,
        "item_id": item.item_id,
        "shard": shard.plan.shard,
        "name": item.name,
        "provider": request.provider,
        "kind": request.kind.value,
        "model": request.model,
        "prompt": request.prompt,
        "settings": request.settings,
        "labels": request.labels,
        "status": known.phase.value,
        "job_id": known.id,
        "attempts": known.attempt,
        "asked_at": known.intent_at,
        "created_at": known.created_at,
        "finished_at": known.finished_at,
        "stored_at": known.stored_at,
        "price": exact(item.estimate.credits),
        "charged": exact(cost.charged),
        "estimated": exact(cost.estimated),
        "possible": exact(cost.possible),
        "unpriced": cost.unpriced,
        "refund_unknown": cost.refund_unknown,
        "currency": None,
        "reason": known.reason,
        "error": known.error,
        # A provider's addresses expire and may be signed: only what is stored is worth keeping.
        "outputs": [_output_row(each) for each in known.outputs] if known.phase is Phase.STORED else [],
    }


def _output_row(output: Output) -> Row:
    return {name: value for name, value in asdict(output).items() if name != "url"}


def _without_prompts(row: Row) -> Row:
    """The row without the prompt, settings that are texts, and texts that may quote the prompt."""
    settings = {name: value for name, value in row["settings"].items() if _is_no_text(name, value)}
    outputs = [{**each, "text": None} for each in row["outputs"]]
    return row | {"prompt": None, "settings": settings, "error": None, "outputs": outputs}


def _is_no_text(name: str, value: object) -> bool:
    return name == "aspect_ratio" or isinstance(value, bool | int | float)


def attempt_rows(shard: ChangedShard, *, prompts: bool) -> Iterator[Row]:
    """Rows of all attempts of the items of a shard of which something is new.

    Args:
        prompts: with the messages of providers, which may quote prompts.
    """
    for index in shard.items:
        for attempt in shard.chronicle.attempts.get(index, ()):
            item = shard.plan.item(index).by(attempt.alternative)
            row = storable(_attempt_row(shard, item, attempt))
            yield row if prompts else row | {"message": None}


def _attempt_row(shard: ChangedShard, item: BatchItem, attempt: Attempt) -> Row:
    return {
        "batch_id": shard.plan.batch_id,
        "made_at": shard.made_at,
        "item": item.index,
        "attempt": attempt.number,
        "provider": item.request.provider,
        "job_id": attempt.job_id,
        "asked_at": attempt.asked_at,
        "answered_at": attempt.answered_at,
        "outcome": attempt.outcome.value,
        "reason": attempt.reason,
        "message": attempt.message,
        "credits": exact(attempt.credits),
        "refund": attempt.refund,
        "finished_at": attempt.finished_at,
    }


def job_row(account: str, job: Generation, read_at: datetime) -> Row:
    """A job as its provider shows it, in words that all providers have in common.

    Args:
        read_at: when its list was read.
    """
    row = {
        "provider": job.provider,
        "job_id": job.id,
        "account": account,
        "status": job.status.value,
        "provider_status": job.provider_status,
        "kind": job.kind.value if job.kind else None,
        "model": job.model,
        "ref": job.correlator,
        "credits": exact(job.credits),
        "created_at": in_utc(job.created_at),
        "finished_at": in_utc(job.finished_at),
        "read_at": read_at,
    }
    return cast(Row, storable(row))


def list_row(provider: str, account: str, read: ListRead) -> Row:
    """How far a provider's list of jobs was read, and when."""
    return {"provider": provider, "account": account, **asdict(read)}


def record_row(job: Generation, *, prompts: bool) -> Row:
    """A job's record as its provider gives it, with its id under the name `id`.

    Args:
        prompts: with all fields; otherwise with those alone of which it is known what they hold.
    """
    told = {name: value for name, value in storable(job.raw).items() if _ID.fullmatch(name) is None}
    record = {**told, "id": storable(job.id)}
    return record if prompts else {name: value for name, value in record.items() if _is_known(name, value)}


_ID = re.compile(r"\W*id\W*", re.IGNORECASE)
"""Names that a database may take for that of the key."""


_KNOWN = {
    *("id", "ref", "status", "type", "kind", "generation_type", "progress"),
    *("model", "model_id", "model_name", "generator"),
    *("credits", "credits_charged", "credit_cost", "credits_refunded", "refunded"),
}


def _is_known(name: str, value: object) -> bool:
    is_time = name.endswith("_at") or name.startswith("date_")
    return (name in _KNOWN or is_time) and not isinstance(value, Mapping | list)
