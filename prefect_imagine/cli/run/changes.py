"""What a run is going to change of a batch, in words and numbers, before it does."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.estimates import EstimateLine, estimate_text
from prefect_imagine.billing.money import add_money
from prefect_imagine.cli import output
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.reports.summary import (
    PlanCounts,
    ProviderMoney,
    Summary,
)


def dry_run(prepared: PreparedBatch, address: str, *, to_stderr: bool) -> Summary:
    """Show what a run would create and change; nothing is."""
    lines = prepared.expected
    if lines:
        output.show_estimate(lines, to_stderr=to_stderr)
    else:
        output.line(f"batch {prepared.batch_id}: nothing is left to create", to_stderr=to_stderr)
    if _amends(prepared):
        output.line(_changes_text(prepared), to_stderr=to_stderr)
    if prepared.again:
        output.line(_again_text(prepared), to_stderr=to_stderr)
    summary, _ = prepared.position.summary(address)
    known = add_credits(line.credits for line in lines if line.credits is not None)
    unpriced = sum(line.counted for line in lines if line.credits is None)
    credits = summary.credits.model_copy(update={"estimated": known})
    update = {
        "credits": credits,
        "unpriced_items": unpriced,
        "money": _expected(lines, summary),
        "exit_code": 0,
    }
    return summary.model_copy(update=update)


def _expected(lines: Iterable[EstimateLine], summary: Summary) -> tuple[ProviderMoney, ...]:
    """What the batch has cost in money, beside what a run is expected to cost."""
    estimated = [
        ProviderMoney(provider=line.provider, **each.model_dump()) for line in lines for each in line.money
    ]
    spent = (each.model_copy(update={"estimated": Decimal(0)}) for each in summary.money)
    by_provider: dict[str, list[ProviderMoney]] = {}
    for each in (*spent, *estimated):
        by_provider.setdefault(each.provider, []).append(each)
    return tuple(
        ProviderMoney(provider=provider, **each.model_dump())
        for provider, group in by_provider.items()
        for each in add_money(group)
    )


def plan_counts(prepared: PreparedBatch) -> PlanCounts:
    """How what is asked for differs from what the batch held."""
    difference = prepared.difference
    return PlanCounts(
        new=len(difference.new) + len(difference.restored),
        kept=difference.kept,
        withdrawn=len(difference.withdrawn),
    )


def _amends(prepared: PreparedBatch) -> bool:
    """Whether a batch that exists is going to change."""
    return not (prepared.fresh or prepared.difference.unchanged)


def _changes_text(prepared: PreparedBatch) -> str:
    """Such as `batch art: +3 items: imaginelab 15 credits; 412 kept, 2 withdrawn`."""
    difference = prepared.difference
    back = f"{len(difference.restored)} back, " if difference.restored else ""
    return (
        f"batch {prepared.batch_id}: +{estimate_text(prepared.new)}; {back}{difference.kept} kept, "
        f"{len(difference.withdrawn)} withdrawn"
    )


def announce(prepared: PreparedBatch) -> None:
    """Say how a batch is amended, and what creating again is going to cost, before it does."""
    if _amends(prepared):
        output.say(_changes_text(prepared))
    if prepared.again:
        output.say(_again_text(prepared))


def _again_text(prepared: PreparedBatch) -> str:
    items = sum(line.counted for line in prepared.again)
    priced = add_credits(line.credits for line in prepared.again if line.credits is not None)
    unpriced = sum(line.counted for line in prepared.again if line.credits is None)
    note = f" and {unpriced} without a price" if unpriced else ""
    doubtful = sum(each.again and each.phase is Phase.UNKNOWN for each in prepared.creatable)
    risk = f"; {doubtful} may have been created before, and are paid twice then" if doubtful else ""
    return f"creating {items} items again: {priced} credits estimated{note}{risk}"
