"""Creates that a damaged journal may have held."""

from __future__ import annotations

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.process_identity import boot_id
from prefect_imagine.batches.records import Intent
from prefect_imagine.clock import boot_seconds, utc_now


def possible_intent(plan: Plan, index: int, attempt: int, alternative: int) -> Intent:
    """The intent that a damaged segment may have held: its item is looked for before it is created."""
    return Intent(
        item=index,
        at=utc_now(),
        attempt=attempt,
        provider_at=plan.planned_at,
        boot=boot_id(),
        boot_at=boot_seconds(),
        alternative=alternative or None,
    )
