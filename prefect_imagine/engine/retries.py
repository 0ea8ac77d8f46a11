"""What is written down before a run creates anything."""

from __future__ import annotations

from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.process_identity import boot_id
from prefect_imagine.batches.records import AnyItemRecord, Intent, Retry
from prefect_imagine.batches.state import BatchState, Phase
from prefect_imagine.clock import boot_seconds, utc_now


async def record_retries(
    plan: Plan, journal: Journal, options: BatchOptions, seen: BatchState, asked_by: str
) -> None:
    """Write down what has to be known before anything is created: what a damaged journal may have lost,
    and what a person who has seen this state wants created again."""
    entries: list[AnyItemRecord] = []
    for item in plan.items:
        state = journal.state[item.index]
        asked_before = asked_by and state.retried_by == asked_by
        wanted = options.creates_again(state.phase) and state == seen[item.index] and not asked_before
        if wanted:
            entries.append(Retry(item=item.index, at=utc_now(), asked_by=asked_by))
        if journal.damaged and (wanted or state.phase is Phase.PLANNED):
            entries.append(_possible_intent(plan, item, state.attempt + 1))
    if entries:
        await journal.append(*entries)
    if journal.damaged:
        await journal.snapshot(force=True)


def _possible_intent(plan: Plan, item: BatchItem, attempt: int) -> Intent:
    """The intent that a damaged segment may have held: its item is looked for before it is created."""
    return Intent(
        item=item.index,
        at=utc_now(),
        attempt=attempt,
        provider_at=plan.planned_at,
        boot=boot_id(),
        boot_at=boot_seconds(),
    )
