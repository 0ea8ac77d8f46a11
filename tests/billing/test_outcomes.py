"""What generations came to: sums that never fall, kept as records come, and the same in settlements."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.batches.records import AnyItemRecord, Restored, Retry, Withdrawn
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.billing.outcomes import BUCKETS, Outcomes, OutcomeSums
from tests.billing.test_bill import PLAN, one_record
from tests.billing.test_usage import AT, REFUSED, created, failed, intent, make_item, stored, succeeded

ITEM = make_item(1, 5)


def after(*records: AnyItemRecord) -> Outcomes:
    """What one item came to after these."""
    state = BatchState()
    sums = OutcomeSums()
    for record in records:
        known = state[1]
        state.apply(record)
        sums.update(ITEM, state[1], known)
    [outcomes] = sums.outcomes
    return outcomes


def of(state: ItemState) -> Outcomes:
    """The same of an item that is met as it stands."""
    sums = OutcomeSums()
    sums.update(ITEM, state)
    [outcomes] = sums.outcomes
    return outcomes


A_WISH = (Retry, Withdrawn, Restored)
"""What alone may happen to an item that has failed."""


@given(st.lists(one_record, max_size=30))
def test_none_of_it_ever_falls(records: list[AnyItemRecord]) -> None:
    state = BatchState()
    sums = OutcomeSums()
    before = Outcomes(name="")
    for record in records:
        known = state[1]
        if known.phase is Phase.STORED or (known.phase is Phase.FAILED and not isinstance(record, A_WISH)):
            continue
        state.apply(record.model_copy(update={"item": 1}))
        sums.update(ITEM, state[1], known)
        [now] = sums.outcomes
        assert now.stored >= before.stored
        assert all(now.failed.get(reason, 0) >= count for reason, count in before.failed.items())
        before = now


def test_a_failure_that_is_created_again_counts_for_ever() -> None:
    again = (Retry(item=1, at=AT), intent(), created(), succeeded(), stored())
    refused_late = failed().model_copy(update={"reason": "moderation"})
    records = (intent(), created(), refused_late, *again)
    outcomes = after(*records)
    assert outcomes.failed == {"moderation": 1}
    assert outcomes.stored == 1
    state = BatchState()
    for record in records:
        state.apply(record)
    assert of(state[1]) == outcomes


def test_a_failure_that_nobody_wants_any_more_counts_too() -> None:
    reason = REFUSED.reason
    assert after(intent(), REFUSED, Withdrawn(item=1, at=AT)).failed == {reason: 1}
    restored = (Withdrawn(item=1, at=AT), Restored(item=1, at=AT))
    assert after(intent(), REFUSED, *restored).failed == {reason: 1}
    assert after(intent(), REFUSED, *restored, Retry(item=1, at=AT), intent(), REFUSED).failed == {reason: 2}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (1, 0), (1.5, 1), (7200, len(BUCKETS) - 1), (7201, len(BUCKETS))]
)
def test_seconds_are_counted_in_one_bucket(seconds: float, bucket: int) -> None:
    done = succeeded().model_copy(update={"created_at": AT, "finished_at": AT + timedelta(seconds=seconds)})
    outcomes = after(intent(), created(), done, stored(seconds=20))
    assert [place for place, count in enumerate(outcomes.seconds) if count] == [bucket]
    assert outcomes.total_seconds == seconds
    assert outcomes.last_stored is not None


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), one_record), max_size=40))
def test_sums_of_parts_are_the_sum(steps: list[tuple[int, AnyItemRecord]]) -> None:
    state = BatchState()
    for index, record in steps:
        state.apply(record.model_copy(update={"item": index}))
    whole, parts = OutcomeSums(), OutcomeSums()
    for item in PLAN.items:
        whole.update(item, state[item.index])
        part = OutcomeSums()
        part.update(item, state[item.index])
        parts.include(part.outcomes)
    assert parts.outcomes == whole.outcomes
