"""The bill that is kept as records come is the bill of the whole journal, at every moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.records import AnyItemRecord, Failed, Retry
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.spans import Spans
from tests.billing.test_usage import (
    ADOPTED,
    AT,
    REFUSED,
    UNKNOWN,
    created,
    failed,
    intent,
    later,
    make_item,
    stored,
    succeeded,
)

PLAN = Plan(
    "b",
    AT,
    (
        make_item(1, 5, labels={"campaign": "spring"}),
        make_item(2, None, provider="imagineapi"),
        make_item(3, 0.1, model="other", labels={"campaign": "spring", "team": "art"}),
    ),
)
RECORDS: tuple[AnyItemRecord, ...] = (
    intent(),
    created(credits=0.7),
    created(),
    ADOPTED,
    REFUSED,
    UNKNOWN,
    succeeded(credits=0.3),
    failed(credits=0.1, refund="unknown"),
    Failed(item=1, at=AT, reason="output_expired", message="403"),
    Retry(item=1, at=AT),
)
seconds = st.integers(0, 50)
one_record = st.one_of(
    st.sampled_from(RECORDS),
    st.builds(intent, seconds=seconds),
    st.builds(stored, seconds=seconds),
)


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), one_record), max_size=40))
def test_it_says_at_every_moment_what_the_journal_says(steps: list[tuple[int, AnyItemRecord]]) -> None:
    state = BatchState()
    kept = Bill.of(PLAN, state)
    for index, record in steps:
        state.apply(record.model_copy(update={"item": index}))
        kept.update(PLAN.item(index), state[index])
        whole = Bill.of(PLAN, state)
        # Times that a stored item had before it was stored once more stay counted.
        assert _without_seconds(kept) == _without_seconds(whole)
        assert (kept.counts, kept.open) == (whole.counts, whole.open)


def _without_seconds(bill: Bill) -> object:
    return bill.usage(AT).model_dump(
        exclude={name: {"__all__": {"seconds"}} for name in ("by_provider", "by_model", "by_label")}
    )


@given(st.lists(st.tuples(seconds, seconds), max_size=30))
def test_times_that_overlap_count_once(stretches: list[tuple[int, int]]) -> None:
    spans = Spans()
    for begin, end in stretches:
        spans.add(later(begin), later(end))
    covered = {second for begin, end in stretches for second in range(begin, end)}
    assert spans.seconds == (len(covered) if stretches else None)


def test_many_times_in_a_row_are_kept_as_one() -> None:
    spans = Spans()
    _add_all(spans, (number * 7 % 1000 for number in range(1000)))
    assert spans.seconds == 1000
    assert len(spans._begins) == 1


def _add_all(spans: Spans, moments: Iterable[int]) -> None:
    for moment in moments:
        spans.add(AT + timedelta(seconds=moment), AT + timedelta(seconds=moment + 1))
