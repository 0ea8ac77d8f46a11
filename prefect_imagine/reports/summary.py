"""What a run has to say at its end, to people and to scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from prefect_imagine.batches.stops import Stop, StopReason, WaitsFor
from prefect_imagine.batches.submission import Submission
from prefect_imagine.billing.money import Money
from prefect_imagine.billing.usage import MONEY, ItemCounts, Usage
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen

ALL_STORED = 0
"""All stored, or withdrawn; or created, by a run that lets its jobs go."""
SOME_FAILED = 1
"""Some failed, or their fate is unknown."""
BAD_INPUT = 2
"""Bad input or configuration; this run spent nothing."""
OUT_OF_CREDITS = 3
"""Stopped by `--max-credits`, a budget, or the account's credits."""
BUSY = 4
"""Another process runs the batch, or has taken it over."""
INFRASTRUCTURE = 5
"""A provider, the store or Prefect was gone for too long, or no create was accepted any more."""
INTERRUPTED = 130
"""Interrupted, or cancelled or suspended from elsewhere."""
TERMINATED = 143
"""Terminated."""


class CreditCounts(Frozen):
    """What a batch cost.

    Attributes:
        charged: credits that providers say they charged.
        estimated: credits by a price list, where the provider reports none.
        possible: estimated credits of creates whose fate is not known.
    """

    charged: Credits = 0
    estimated: Credits = 0
    possible: Credits = 0


class ProviderMoney(Money):
    """What credits of one provider and one price cost.

    Attributes:
        provider: whose credits they are.
    """

    provider: str


class RequestCounts(Frozen):
    """Requests that a run sent to the APIs, by purpose; downloads of media are none.

    Attributes:
        create: creates.
        poll: looks at jobs under way.
        fetch: single records, such as for fresh addresses of outputs.
        history: reads of the history, for creates whose answer was lost.
        other: logins, models, balances and the like.
    """

    create: int = 0
    poll: int = 0
    fetch: int = 0
    history: int = 0
    other: int = 0


class PlanCounts(Frozen):
    """What a prompts file asked for, beside what its batch held.

    Attributes:
        new: rows that nothing was planned for, or only what had been withdrawn.
        kept: rows of which the batch held the items.
        withdrawn: items that no row asks for any more, and that were not created, or had failed.
    """

    new: int
    kept: int
    withdrawn: int


class Summary(Frozen):
    """The end of a run: items and credits are the batch's, requests this run's.

    Attributes:
        batch_id: the batch.
        items: how many stand where.
        credits: what the batch has cost.
        unpriced_items: how many items have no price.
        money: what those of the credits cost of which a price in money is known, by provider.
        requests: what the run has sent to the APIs.
        manifest: where `manifest.jsonl` is.
        report: where `report.html` is.
        plan: how what was asked for differed from what the batch held, where it was compared.
        submitted: whether the run has let its jobs go, for `collect` to take in.
        expected_at: when the last of them is expected to end, where that is known.
        error: why the run ended before everything was stored, where it did.
        stopped_by: the same in stable words, such as budget, credits, key, gone, terminated.
        waits_for: the budget of the root that was used up, if that is why.
        exit_code: as the command line's contract has it.
    """

    batch_id: str
    items: ItemCounts
    credits: CreditCounts
    unpriced_items: int
    money: tuple[ProviderMoney, ...] = MONEY
    requests: RequestCounts
    manifest: str
    report: str
    plan: PlanCounts | None = None
    submitted: bool = False
    expected_at: datetime | None = None
    error: str | None = None
    stopped_by: tuple[str, ...] = ()
    waits_for: WaitsFor | None = None
    exit_code: int = ALL_STORED


def summarize(
    usage: Usage,
    address: str,
    requests: RequestCounts,
    stops: Iterable[Stop],
    *,
    key_refused_first: bool = False,
    submission: Submission | None = None,
) -> Summary:
    """Sum a run up.

    Args:
        key_refused_first: a key was refused before this run had created anything.
        submission: what the run has left for whoever collects its jobs, if it has let them go.
    """
    stops = list(stops)
    counts = ItemCounts(
        total=usage.items,
        stored=usage.stored,
        failed=usage.failed,
        unknown=usage.unknown,
        under_way=usage.under_way,
        planned=usage.planned,
        withdrawn=usage.withdrawn,
    )
    return Summary(
        batch_id=usage.batch_id,
        items=counts,
        credits=CreditCounts(charged=usage.charged, estimated=usage.estimated, possible=usage.possible),
        unpriced_items=usage.unpriced_items,
        money=tuple(
            ProviderMoney(provider=line.name, **each.model_dump())
            for line in usage.by_provider
            for each in line.money
        ),
        requests=requests,
        manifest=f"{address}/{usage.batch_id}/manifest.jsonl",
        report=f"{address}/{usage.batch_id}/report.html",
        **_told_by(stops),
        submitted=submission is not None,
        expected_at=submission.expected_at if submission is not None else None,
        exit_code=_exit_code(
            counts, stops, key_refused_first=key_refused_first, submitted=submission is not None
        ),
    )


def stopped(summary: Summary, stops: Sequence[Stop]) -> Summary:
    """The same of a run that was stopped so."""
    return summary.model_copy(
        update={
            **_told_by(stops),
            "exit_code": _exit_code(
                summary.items, list(stops), key_refused_first=False, submitted=summary.submitted
            ),
        }
    )


def _told_by(stops: Sequence[Stop]) -> dict[str, Any]:
    """What a summary says of why a run was stopped."""
    return {
        "error": "; ".join(dict.fromkeys(stop.message for stop in stops)) or None,
        "stopped_by": tuple(dict.fromkeys(stop.reason.value for stop in stops)),
        "waits_for": next((stop.waits_for for stop in stops if stop.waits_for is not None), None),
    }


def _exit_code(counts: ItemCounts, stops: list[Stop], *, key_refused_first: bool, submitted: bool) -> int:
    reasons = {stop.reason for stop in stops}
    if reasons & {StopReason.INTERRUPTED, StopReason.CANCELLED, StopReason.SUSPENDED}:
        return INTERRUPTED
    if StopReason.TERMINATED in reasons:
        return TERMINATED
    if StopReason.AUTHENTICATION in reasons and key_refused_first:
        return BAD_INPUT
    if reasons & {
        StopReason.FAILING,
        StopReason.UNREACHABLE,
        StopReason.AUTHENTICATION,
        StopReason.UNREADABLE,
    }:
        return INFRASTRUCTURE
    if reasons & {StopReason.BUDGET, StopReason.CREDITS}:
        return OUT_OF_CREDITS
    return ALL_STORED if submitted or counts.stored == counts.wanted else SOME_FAILED
