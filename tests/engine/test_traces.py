"""Spans of tasks side by side: whose parent is whose, how they end, and what they never say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from prefect_imagine import tracing
from prefect_imagine.billing.usage import ItemCounts
from prefect_imagine.engine import traces
from prefect_imagine.engine.traces import BatchTrace, batch_trace
from prefect_imagine.reports.summary import CreditCounts
from prefect_imagine.tasks.events import STOPPED
from prefect_imagine.tracing import OUTCOME, continued, named_by, present, recorded, span, traceparent

PAGE = Path(__file__).parents[2] / "docs/observability.md"
NAME = r"((?:imagine|gen_ai|error)\.[a-z_.]*[a-z])"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK for one test: a process has but one provider, and keeps it."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("prefect_imagine"))
    yield exporter
    provider.shutdown()


def ended(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = (each for each in exporter.get_finished_spans() if each.name == name)
    return found


async def test_a_task_that_is_cancelled_ends_its_span_which_did_not_fail(
    exporter: InMemorySpanExporter,
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        with span("work", {}):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    assert present() is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = ended(exporter, "work")
    assert found.attributes == {OUTCOME: "cancelled"}
    assert found.status.status_code is StatusCode.UNSET


async def test_tasks_side_by_side_are_children_of_the_batch_and_not_of_each_other(
    exporter: InMemorySpanExporter,
) -> None:
    entered = asyncio.Barrier(3)

    async def look(trace: BatchTrace, asked: int) -> None:
        with trace.poll("imaginelab", asked) as mine:
            await entered.wait()
            assert present() == mine.get_span_context()
            await entered.wait()

    with batch_trace("batch", ["imaginelab"]) as trace:
        assert present() is None
        await asyncio.gather(*(look(trace, asked) for asked in range(3)))
    batch = ended(exporter, "imagine.batch")
    looks = [each for each in exporter.get_finished_spans() if each.name == "imagine.poll"]
    assert len(looks) == 3
    assert batch.context is not None
    assert {each.parent and each.parent.span_id for each in looks} == {batch.context.span_id}


def test_an_error_is_told_by_its_type_and_never_by_its_text(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), span("work", {}):
        raise ValueError("a secret garden")
    assert "secret" not in ended(exporter, "work").to_json()
    assert ended(exporter, "work").status.description == "ValueError"


def test_a_trace_goes_on_where_a_traceparent_names_one_and_nothing_is_present(
    exporter: InMemorySpanExporter,
) -> None:
    with continued(PARENT):
        assert traceparent() == PARENT
        with span("outer", {}), continued(PARENT), span("inner", {}):
            assert recorded()
    assert present() is None
    outer, inner = ended(exporter, "outer"), ended(exporter, "inner")
    assert outer.parent == named_by(PARENT)
    assert inner.parent == outer.context


@pytest.mark.parametrize("nonsense", [None, "", "00-0-0-00", "no traceparent", "0" * 600])
def test_what_names_no_trace_is_left_out(nonsense: str | None) -> None:
    assert named_by(nonsense) is None
    with continued(nonsense):
        assert present() is None


def test_without_an_sdk_a_span_is_nothing() -> None:
    with batch_trace("batch", ["imaginelab"], named_by(PARENT)) as trace, trace.poll("imaginelab", 1):
        assert (present(), recorded(), trace.traceparent) == (None, False, None)


def test_the_page_names_what_the_code_names_and_nothing_else() -> None:
    code = "".join(Path(module.__file__ or "").read_text() for module in (traces, tracing))
    named = set(re.findall(rf'"{NAME}"', code))
    named |= {f"imagine.items.{name}" for name in ItemCounts.model_fields}
    named |= {f"imagine.credits.{name}" for name in CreditCounts.model_fields}
    assert set(re.findall(rf"`{NAME}`", PAGE.read_text())) - {STOPPED} == named
