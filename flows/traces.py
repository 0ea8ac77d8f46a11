"""A flow run as a part of the trace of whoever asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext
from prefect.telemetry.run_telemetry import LABELS_TRACEPARENT_KEY
from prefect.types import KeyValueLabels

from prefect_imagine.tracing import continued, traceparent


@contextmanager
def in_trace_of_run() -> Iterator[None]:
    """In the span of the present flow run; where Prefect has begun none, in the trace that the run's labels
    name, which is that of whoever started it."""
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    asked_in = None if run is None else run.labels.get(LABELS_TRACEPARENT_KEY)
    with continued(None if asked_in is None else str(asked_in)):
        yield


def labels_of_trace() -> KeyValueLabels:
    """The labels by which a flow run that is started here goes on with the present trace, if there is one."""
    present = traceparent()
    return {} if present is None else {LABELS_TRACEPARENT_KEY: present}
