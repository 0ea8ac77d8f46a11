"""What the engine's spans are called, and what they say: a contract (docs/observability.md)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, set_span_in_context

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.engine.history.attempts import OpenAttempt
from prefect_imagine.errors import ProviderError
from prefect_imagine.providers.models import Generation
from prefect_imagine.reports.summary import Summary
from prefect_imagine.tracing import OUTCOME, Attributes, long_span, mark_failed, span, traceparent_of

BATCH_ID = "imagine.batch.id"
ITEM = "imagine.item.index"
ATTEMPT = "imagine.attempt"
KIND = "imagine.kind"
JOB = "imagine.job.id"
CREDITS = "imagine.credits"
OUTPUTS = "imagine.outputs"
BYTES = "imagine.bytes"
ASKED = "imagine.jobs.asked"
SEEN = "imagine.jobs.seen"
ENDED = "imagine.jobs.ended"
ATTEMPTS = "imagine.attempts"
PROVIDERS = "imagine.providers"
STOPPED_BY = "imagine.stopped_by"
BATCHES = "imagine.batches"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
OPERATION = "gen_ai.operation.name"

_RECONCILED = {
    Phase.CREATED: "adopted",
    Phase.PLANNED: "absent",
    Phase.WITHDRAWN: "absent",
    Phase.FAILED: "absent",
    Phase.UNKNOWN: "unknown",
}
"""What the history has shown of an attempt, by where its item stands then; it is open still elsewhere."""


class BatchTrace:
    """The spans of one run of a batch: children of the batch's, whichever task begins them."""

    def __init__(self, batch_id: str, span: Span | None = None) -> None:
        self._batch_id = batch_id
        self._span = span
        self._within: Context | None = None if span is None else set_span_in_context(span, Context())

    @property
    def traceparent(self) -> str | None:
        """By what others may name the run; `None` where it is not traced."""
        return None if self._span is None else traceparent_of(self._span)

    def create(self, item: BatchItem, attempt: int) -> AbstractContextManager[Span]:
        """Around a create, from its intent to the record of its answer."""
        attributes = {**self._of(item), ATTEMPT: attempt, OPERATION: "generate_content"}
        return span("imagine.create", attributes, kind=SpanKind.CLIENT, within=self._within)

    def poll(self, provider: str, asked: int) -> AbstractContextManager[Span]:
        """Around one look at so many jobs."""
        return look_trace(provider, asked, {BATCH_ID: self._batch_id}, self._within)

    def store(self, item: BatchItem, known: ItemState) -> AbstractContextManager[Span]:
        """Around the storing of one item's outputs."""
        attributes = {**self._of(item), JOB: known.id or "", ATTEMPT: known.attempt}
        return span("imagine.store", attributes, within=self._within)

    @contextmanager
    def reconcile(
        self, provider: str, attempts: Sequence[OpenAttempt], state: Callable[[int], ItemState]
    ) -> Iterator[None]:
        """Around one look at the history for open attempts; it is linked with the creates whose answers were
        lost in this process, and has an event for each that it settles."""
        attributes: Attributes = {BATCH_ID: self._batch_id, PROVIDER: provider, ATTEMPTS: len(attempts)}
        links = [each.asked_in for each in attempts]
        with span(
            "imagine.reconcile", attributes, kind=SpanKind.CLIENT, within=self._within, links=links
        ) as it:
            yield
            if it.is_recording():
                for each in attempts:
                    _tell_settled(it, each, state(each.item))

    def ended(self, summary: Summary) -> None:
        """The run of the batch has ended."""
        if self._span is None or not self._span.is_recording():
            return
        counts, credits = summary.items.model_dump(), summary.credits.model_dump()
        self._span.set_attributes({f"imagine.items.{name}": count for name, count in counts.items()})
        self._span.set_attributes({f"imagine.credits.{name}": float(each) for name, each in credits.items()})
        self._span.set_attribute(STOPPED_BY, summary.stopped_by)
        outcome = "stopped" if summary.stopped_by else "submitted" if summary.submitted else "finished"
        self._span.set_attribute(OUTCOME, outcome)
        if summary.stopped_by:
            mark_failed(self._span, None, summary.stopped_by[0])

    def _of(self, item: BatchItem) -> dict[str, str | bool | int | float | Sequence[str]]:
        request = item.request
        model = {} if request.model is None else {MODEL: request.model}
        return {
            BATCH_ID: self._batch_id,
            ITEM: item.index,
            PROVIDER: request.provider,
            KIND: request.kind.value,
            **model,
        }


@contextmanager
def batch_trace(
    batch_id: str, providers: Collection[str], begun_in: SpanContext | None = None
) -> Iterator[BatchTrace]:
    """The trace of one run of a batch, for as long as that lasts.

    Args:
        begun_in: the run that let the batch's jobs go.
    """
    attributes: Attributes = {BATCH_ID: batch_id, PROVIDERS: sorted(providers)}
    with long_span("imagine.batch", attributes, links=[begun_in]) as started:
        yield BatchTrace(batch_id, started)


def collect_trace() -> AbstractContextManager[Span]:
    """Around a look at what all batches under a root have under way."""
    return span("imagine.collect", {})


def tell_collected(span: Span, batches: int) -> None:
    """Of how many batches something was under way."""
    span.set_attribute(BATCHES, batches)


def look_trace(
    provider: str, asked: int, attributes: Attributes | None = None, within: Context | None = None
) -> AbstractContextManager[Span]:
    """Around one look at so many jobs, of whatever batches."""
    about = {PROVIDER: provider, ASKED: asked, **(attributes or {})}
    return span("imagine.poll", about, kind=SpanKind.CLIENT, within=within)


def tell_seen(span: Span, rows: Collection[Generation]) -> None:
    """What a look has shown."""
    if span.is_recording():
        span.set_attributes({SEEN: len(rows), ENDED: sum(row.status.terminal for row in rows)})


def tell_answer(span: Span, answer: Generation | ProviderError | None, known: ItemState) -> None:
    """What has come of a create.

    Args:
        answer: the job, or the refusal, or the loss of the answer; `None` for an answer that was none.
        known: where the item stands upon it.
    """
    if not span.is_recording():
        return
    if isinstance(answer, Generation):
        credits = {} if answer.credits is None else {CREDITS: float(answer.credits)}
        span.set_attributes({OUTCOME: "created", JOB: answer.id, **credits})
        return
    reason = "lost" if known.phase is Phase.OPEN else known.reason or "refused"
    span.set_attribute(OUTCOME, reason if reason in ("lost", "not_sent") else "refused")
    mark_failed(span, answer, reason)


def tell_stored(span: Span, known: ItemState) -> None:
    """What has come of storing an item."""
    if not span.is_recording():
        return
    if known.phase is Phase.STORED:
        weight = sum(output.bytes or 0 for output in known.outputs)
        span.set_attributes({OUTCOME: "stored", OUTPUTS: len(known.outputs), BYTES: weight})
    else:
        span.set_attribute(OUTCOME, "failed")
        mark_failed(span, None, known.reason or "failed")


def _tell_settled(span: Span, attempt: OpenAttempt, known: ItemState) -> None:
    outcome = _RECONCILED.get(known.phase)
    if outcome is None:
        return
    about: Attributes = {ITEM: attempt.item, ATTEMPT: attempt.attempt, OUTCOME: outcome}
    job = {JOB: known.id} if known.id is not None else {}
    span.add_event("imagine.settled", {**about, **job})
    if outcome == "unknown":
        mark_failed(span, None, outcome)
