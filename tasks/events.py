"""Events that automations can act on. Their names and payloads are a contract: an event is sent as its model
says, and the reference of the documentation is made from these models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import emit_event

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import ItemState
from prefect_imagine.billing.budgets.thresholds import ThresholdReached
from prefect_imagine.billing.usage import ItemCounts
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Balance, Frozen
from prefect_imagine.reports.summary import CreditCounts, Summary

STARTED = "imagine.batch.started"
FINISHED = "imagine.batch.finished"
STOPPED = "imagine.batch.stopped"
BUDGET_EXCEEDED = "imagine.budget.exceeded"
BUDGET_THRESHOLD = "imagine.budget.threshold"
GENERATION_FAILED = "imagine.generation.failed"
JOB_ENDED = "imagine.job.ended"
CREDITS_LOW = "imagine.credits.low"


class Event(Frozen):
    """Something that automations may act on; its fields are the payload.

    Attributes:
        NAME: of the event.
        RESOURCE: what it is about, with what stands for a name in angle brackets.
    """

    NAME: ClassVar[str] = ""
    RESOURCE: ClassVar[str] = "imagine.batch.<batch id>"

    @property
    def payload(self) -> dict[str, Any]:
        """What it says: the fields that were given."""
        return self.model_dump(mode="json", include=self.model_fields_set)


class ExpectedLine(Frozen):
    """What a run may create of one model.

    Attributes:
        provider: its name.
        kind: of the items.
        model: of the items.
        items: how many there are.
        credits: the estimate; `None` without a price.
    """

    provider: str
    kind: str
    model: str | None
    items: int
    credits: Credits | None


class BatchStarted(Event):
    """A run of a batch begins to create.

    Attributes:
        items: how many the batch holds.
        remaining: how many of them this run may create.
        estimate: what those are expected to cost: lines of `provider`, `kind`, `model`, `items` and `credits`
            (null without a price).
    """

    NAME: ClassVar[str] = STARTED

    items: int
    remaining: int
    estimate: tuple[ExpectedLine, ...]


class BatchFinished(Event):
    """A run of a batch has ended, and nothing stopped it. Of a batch whose jobs were let go, the run of
    `collect` that closes the books sends it.

    Attributes:
        items: how many are `total`, `stored`, `failed`, `unknown`, `under_way`, `planned` and `withdrawn`.
        credits: what the batch has cost: `charged`, `estimated` and `possible`.
        error: why it ended before everything was stored, where it did.
        stopped_by: what stopped it, in stable words; empty for a run that nothing stopped.
    """

    NAME: ClassVar[str] = FINISHED

    items: ItemCounts
    credits: CreditCounts
    error: str | None
    stopped_by: tuple[str, ...]


class BatchStopped(Event):
    """Something has stopped a run of a batch. One that broke, with its books left open, tells only `error`
    and `stopped_by`.

    Attributes:
        items: how many are `total`, `stored`, `failed`, `unknown`, `under_way`, `planned` and `withdrawn`.
        credits: what the batch has cost: `charged`, `estimated` and `possible`.
        error: why, in a sentence.
        stopped_by: the same in stable words: `budget`, `credits`, `key`, `failing` (no create is accepted any
            more), `unreadable`, `gone`, `interrupted`, `terminated`, `cancelled`, `suspended`; or `error`.
    """

    NAME: ClassVar[str] = STOPPED

    items: ItemCounts | None = None
    credits: CreditCounts | None = None
    error: str | None
    stopped_by: tuple[str, ...]


class BudgetExceeded(BatchStopped):
    """The budget has stopped a run of a batch. Sent besides `imagine.batch.stopped`, it says the same."""

    NAME: ClassVar[str] = BUDGET_EXCEEDED


class BudgetThreshold(Event):
    """A budget is used up by 50, 80, 95 or 100 percent: sent once in each period for each of them.

    Attributes:
        provider: whose credits the budget limits.
        period: the present one, such as `2026-11`.
        percent: the threshold; at 100 the next create would pass the limit.
        spent: credits, with those that may have been charged.
        limit: credits of the period.
        until: when the next period begins; null for `total`.
        output: the folder or address that the batches are stored under.
    """

    NAME: ClassVar[str] = BUDGET_THRESHOLD
    RESOURCE: ClassVar[str] = "imagine.budget.<name>"

    provider: str
    period: str
    percent: int
    spent: Credits
    limit: Credits
    until: datetime | None
    output: str


class GenerationFailed(Event):
    """The provider has refused or failed one item. At most 500 are sent of a run.

    Attributes:
        provider: its name.
        kind: of the item.
        model: of the item, where it has one.
        index: the item's place in the batch, from 1.
        reason: a stable word for why.
        message: the sentence.
    """

    NAME: ClassVar[str] = GENERATION_FAILED

    provider: str
    kind: str
    model: str | None
    index: int
    reason: str | None
    message: str | None


class JobEnded(Event):
    """A receiver of webhooks has written down that a job has ended. Delivered twice, it is one event.

    Attributes:
        provider: its name.
        job: the provider's id of it.
        believed: whether the delivery was signed, so that its contents count.
    """

    NAME: ClassVar[str] = JOB_ENDED

    provider: str
    job: str
    believed: bool


class CreditsLow(Event):
    """An account has fewer credits left than `low_credits` says.

    Attributes:
        provider: its name.
        credits: what is left.
        threshold: what `low_credits` says.
    """

    NAME: ClassVar[str] = CREDITS_LOW
    RESOURCE: ClassVar[str] = "imagine.account.<provider>"

    provider: str
    credits: Credits
    threshold: Credits


def send(event: Event, about: str, *, id: UUID | None = None) -> None:
    """Send an event about a batch or an account.

    Args:
        about: the name of what it is about, which stands in its resource.
        id: another than a random one: an event that is sent twice under it is stored once.
    """
    kind, _, _ = event.RESOURCE.partition("<")
    resource = {"prefect.resource.id": f"{kind}{about}", "prefect.resource.name": about}
    emit_event(event=event.NAME, resource=resource, payload=event.payload, id=id)


def announce_start(prepared: PreparedBatch) -> None:
    """A run of a batch begins."""
    lines = tuple(
        ExpectedLine(
            provider=line.provider, kind=line.kind, model=line.model, items=line.items, credits=line.credits
        )
        for line in prepared.expected
    )
    remaining = sum(line.counted for line in prepared.expected)
    total = prepared.position.bill.counts.total
    send(BatchStarted(items=total, remaining=remaining, estimate=lines), prepared.batch_id)


def announce_end(summary: Summary) -> None:
    """How a run ended: finished, or stopped with what stopped it; a reached budget has its own event."""
    end = {name: getattr(summary, name) for name in ("items", "credits", "error", "stopped_by")}
    send(BatchStopped(**end) if summary.stopped_by else BatchFinished(**end), summary.batch_id)
    if "budget" in summary.stopped_by:
        send(BudgetExceeded(**end), summary.batch_id)


def announce_threshold(output: str, reached: ThresholdReached) -> None:
    """A budget has reached a threshold; of those who see it at the same moment, one is heard."""
    told = BudgetThreshold(
        provider=reached.provider,
        period=reached.period,
        percent=reached.percent,
        spent=reached.spent,
        limit=reached.limit,
        until=reached.until,
        output=output,
    )
    once = f"{output} {reached.budget} {reached.provider} {reached.period} {reached.percent}"
    send(told, reached.budget, id=uuid5(NAMESPACE_URL, once))


def announce_break(batch_id: str, error: BaseException) -> None:
    """A run ended without closing its books."""
    send(BatchStopped(error=str(error) or type(error).__name__, stopped_by=("error",)), batch_id)


def announce_failure(batch_id: str, item: BatchItem, state: ItemState) -> None:
    """The provider refused or failed one item."""
    request = item.request
    failed = GenerationFailed(
        provider=request.provider,
        kind=request.kind.value,
        model=request.model,
        index=item.index,
        reason=state.reason,
        message=state.error,
    )
    send(failed, batch_id)


def announce_low_credits(balances: Mapping[str, Balance], thresholds: Mapping[str, Credits]) -> None:
    """Each account that has fewer credits left than its threshold."""
    for provider, threshold in thresholds.items():
        balance = balances.get(provider)
        if balance is not None and balance.credits < threshold:
            low = CreditsLow(provider=provider, credits=balance.credits, threshold=threshold)
            send(low, provider)
