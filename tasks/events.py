"""Events that automations can act on. Their names and payloads are a contract (docs/operations.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.events import emit_event

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import ItemState
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Balance
from prefect_imagine.reports.summary import Summary

STARTED = "imagine.batch.started"
FINISHED = "imagine.batch.finished"
STOPPED = "imagine.batch.stopped"
BUDGET_EXCEEDED = "imagine.budget.exceeded"
GENERATION_FAILED = "imagine.generation.failed"
CREDITS_LOW = "imagine.credits.low"


def announce_start(prepared: PreparedBatch) -> None:
    """A run of a batch begins: its `items`, how many `remaining` ones this run may create, and the
    `estimate` of those by provider, kind and model (credits are null where there is no price)."""
    lines = [
        {"provider": line.provider, "kind": line.kind, "model": line.model, "items": line.items}
        | {"credits": line.credits}
        for line in prepared.expected
    ]
    remaining = sum(line.items for line in prepared.expected)
    payload = {"items": prepared.position.bill.counts.total, "remaining": remaining, "estimate": lines}
    _emit(STARTED, prepared.batch_id, payload)


def announce_end(summary: Summary) -> None:
    """How a run ended: finished, or stopped with what stopped it; a reached budget has its own event.

    The payload holds `items`, `credits`, `error` and `stopped_by` (budget, credits, key, failing, gone, …).
    """
    stopped = bool(summary.stopped_by)
    payload = summary.model_dump(mode="json", include={"items", "credits", "error", "stopped_by"})
    _emit(STOPPED if stopped else FINISHED, summary.batch_id, payload)
    if "budget" in summary.stopped_by:
        _emit(BUDGET_EXCEEDED, summary.batch_id, payload)


def announce_break(batch_id: str, error: BaseException) -> None:
    """A run ended without closing its books: stopped, with only an `error`."""
    why = str(error) or type(error).__name__
    _emit(STOPPED, batch_id, {"error": why, "stopped_by": ["error"]})


def announce_failure(batch_id: str, item: BatchItem, state: ItemState) -> None:
    """The provider refused or failed one item: `provider`, `kind`, `model`, `index`, the `reason` in a
    stable word and the `message`."""
    request = item.request
    payload = {
        "provider": request.provider,
        "kind": request.kind.value,
        "model": request.model,
        "index": item.index,
        "reason": state.reason,
        "message": state.error,
    }
    _emit(GENERATION_FAILED, batch_id, payload)


def announce_low_credits(balances: Mapping[str, Balance], thresholds: Mapping[str, Credits]) -> None:
    """Each account that has fewer `credits` left than its `threshold`."""
    for provider, threshold in thresholds.items():
        balance = balances.get(provider)
        if balance is not None and balance.credits < threshold:
            _emit_low(provider, balance, threshold)


def _emit_low(provider: str, balance: Balance, threshold: Credits) -> None:
    name = f"imagine.account.{provider}"
    emit_event(
        event=CREDITS_LOW,
        resource={"prefect.resource.id": name, "prefect.resource.name": provider},
        payload={"provider": provider, "credits": balance.credits, "threshold": threshold},
    )


def _emit(event: str, batch_id: str, payload: dict[str, Any]) -> None:
    resource = {"prefect.resource.id": f"imagine.batch.{batch_id}", "prefect.resource.name": batch_id}
    emit_event(event=event, resource=resource, payload=payload)
