"""Spans through OpenTelemetry's API. Without an SDK they are not recorded, and cost microseconds.

What a span says is never a prompt, a key or a signed address: errors give it their type and a stable word,
and their text to the log alone, since texts of others may quote what they were sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

ERROR_TYPE = "error.type"
OUTCOME = "imagine.outcome"
REASON = "imagine.reason"

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]

_tracer = trace.get_tracer("prefect_imagine")  # stands for the SDK's, whenever that comes
_w3c = TraceContextTextMapPropagator()
_PARENT = "traceparent"


@contextmanager
def span(
    name: str,
    attributes: Attributes,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    within: Context | None = None,
    links: Iterable[SpanContext | None] = (),
) -> Iterator[Span]:
    """A span around a piece of work of one task, which ends with it, whatever ends that. What the work calls
    finds it as the present span.

    Args:
        within: holds the parent; without it, that is the present span.
        links: other spans that this one has to do with.
    """
    with long_span(name, attributes, kind=kind, within=within, links=links) as started:
        token = attach(trace.set_span_in_context(started))
        try:
            yield started
        finally:
            detach(token)


@contextmanager
def long_span(
    name: str,
    attributes: Attributes,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    within: Context | None = None,
    links: Iterable[SpanContext | None] = (),
) -> Iterator[Span]:
    """The same for work of many tasks: it is nobody's present span, and so reaches those alone that are given
    it as their parent."""
    linked = [Link(each) for each in links if each is not None]
    started = _tracer.start_span(name, within, kind=kind, attributes=attributes, links=linked)
    try:
        yield started
    except asyncio.CancelledError:
        started.set_attribute(OUTCOME, "cancelled")
        raise
    except Exception as error:
        mark_failed(started, error)
        raise
    finally:
        started.end()


def mark_failed(span: Span, error: Exception | None, reason: str = "") -> None:
    """What the span is about did not succeed, for this reason in a stable word, and by this error."""
    if error is not None:
        span.set_attribute(ERROR_TYPE, type(error).__qualname__)
    if reason:
        span.set_attribute(REASON, reason)
    span.set_status(Status(StatusCode.ERROR, reason or type(error).__qualname__))


def present() -> SpanContext | None:
    """What links and children name the present span by; `None` where there is none."""
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def recorded() -> bool:
    """Whether the present span is going to be exported."""
    return trace.get_current_span().is_recording()


def traceparent_of(span: Span) -> str | None:
    """A span in the words of W3C's Trace Context; `None` for one that is in no trace."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get(_PARENT)


def traceparent() -> str | None:
    """The same of the present span."""
    return traceparent_of(trace.get_current_span())


def named_by(traceparent: str | None) -> SpanContext | None:
    """The span that a `traceparent` names; `None` where it names none."""
    found = trace.get_current_span(_context_of(traceparent)).get_span_context()
    return found if found.is_valid else None


@contextmanager
def continued(traceparent: str | None) -> Iterator[None]:
    """In the trace that a `traceparent` names, unless there is a present span already."""
    if present() is not None or named_by(traceparent) is None:
        yield
        return
    token = attach(_context_of(traceparent))
    try:
        yield
    finally:
        detach(token)


def _context_of(traceparent: str | None) -> Context:
    return _w3c.extract({_PARENT: traceparent} if traceparent else {}, Context())
