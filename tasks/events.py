"""Events that automations can act on. Their names and payloads are a contract."""

from __future__ import annotations

from prefect.events import emit_event

from prefect_imagine.batches.summary import Summary

FINISHED = "imagine.batch.finished"
STOPPED = "imagine.batch.stopped"
BUDGET_EXCEEDED = "imagine.budget.exceeded"


def announce(summary: Summary) -> None:
    """Emit how a run ended: finished, or stopped with what stopped it; a reached budget has its own event.

    The payload holds `items`, `credits`, `error` and `stopped_by` (budget, credits, key, gone, …).
    """
    stopped = bool(summary.stopped_by)
    names = [STOPPED if stopped else FINISHED]
    if "budget" in summary.stopped_by:
        names.append(BUDGET_EXCEEDED)
    payload = summary.model_dump(mode="json", include={"items", "credits", "error", "stopped_by"})
    resource = {
        "prefect.resource.id": f"imagine.batch.{summary.batch_id}",
        "prefect.resource.name": summary.batch_id,
    }
    for name in names:
        emit_event(event=name, resource=resource, payload=payload)
