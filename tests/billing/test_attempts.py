"""Every create is an attempt with one outcome, and all of them cost what the bill says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_imagine.batches.plan import write_plan
from prefect_imagine.batches.reading import read_journal, segment_key, snapshot_key
from prefect_imagine.batches.records import (
    Absent,
    Adopted,
    AnyItemRecord,
    Created,
    Failed,
    Finished,
    Header,
    Intent,
    NotSent,
    Refused,
    Retry,
    Stored,
    Unknown,
    Withdrawn,
    to_line,
)
from prefect_imagine.batches.snapshot import encode_snapshot
from prefect_imagine.billing.attempts import Chronicle, Outcome, read_chronicle
from prefect_imagine.providers.models import GenerationStatus
from prefect_imagine.stores import Store, open_store
from tests.batches.journals import AT
from tests.batches.memory_store import MemoryStore
from tests.engine.fake_provider import plan_of

RECORDED = Path(__file__).parents[1] / "recorded"


def intent(attempt: int = 1, item: int = 1) -> Intent:
    return Intent(item=item, at=AT, attempt=attempt, provider_at=AT, boot="b", boot_at=1.0)


def created(attempt: int = 1, credits: float | None = 5) -> Created:
    return Created(item=1, at=AT, attempt=attempt, id=f"job-{attempt}", credits=credits)


def finished(attempt: int = 1, *, failed: bool = False, credits: float | None = None) -> Finished:
    status = GenerationStatus.FAILED if failed else GenerationStatus.SUCCEEDED
    refund, reason = ("full", "provider") if failed else (None, None)
    return Finished(
        item=1, at=AT, id=f"job-{attempt}", status=status, credits=credits, refund=refund, reason=reason
    )


def refused(attempt: int = 1, *, final: bool = True) -> Refused:
    return Refused(item=1, at=AT, attempt=attempt, final=final, reason="moderation", message="no")


def write(store: Store, *segments: Sequence[AnyItemRecord]) -> None:
    write_plan(store, plan_of("a kite"))
    for seq, records in enumerate(segments, 1):
        lines = [to_line(Header(seq=seq, writer="w", lines=len(records))), *map(to_line, records)]
        store.put(segment_key("b", seq), b"".join(lines))


def told(*records: AnyItemRecord) -> Chronicle:
    store = MemoryStore()
    write(store, records)
    return read_chronicle(store, "b")


LATER = AT + timedelta(seconds=2)
UNKNOWN = Unknown(item=1, at=AT, attempt=1, message="the history does not reach back")
RETRY = Retry(item=1, at=AT)


@pytest.mark.parametrize(
    ("records", "outcomes"),
    [
        ([intent()], ["open"]),
        ([intent(), created()], ["running"]),
        ([intent(), created(), finished()], ["succeeded"]),
        ([intent(), created(), finished(), Stored(item=1, at=AT, outputs=())], ["succeeded"]),
        ([intent(), created(), Failed(item=1, at=AT, reason="timeout", message="late")], ["running"]),
        ([intent(), created(), finished(failed=True)], ["failed"]),
        ([intent(), refused()], ["refused"]),
        ([intent(), NotSent(item=1, at=AT, attempt=1, message="no route"), intent(2)], ["not_sent", "open"]),
        (
            [intent(), Absent(item=1, at=AT, attempt=1), intent(2), created(2), finished(2)],
            ["absent", "succeeded"],
        ),
        ([intent(), UNKNOWN], ["unknown"]),
        ([intent(), UNKNOWN, Adopted(item=1, at=AT, attempt=1, id="job-1")], ["running"]),
        ([intent(), UNKNOWN, RETRY, intent(2), created(2)], ["unknown", "running"]),
        (
            [intent(), created(), finished(failed=True, credits=0), RETRY, intent(2), created(2)],
            ["failed", "running"],
        ),
        ([Withdrawn(item=1, at=AT)], []),
    ],
)
def test_each_attempt_has_one_outcome(records: list[AnyItemRecord], outcomes: list[str]) -> None:
    assert [each.outcome.value for each in told(*records).attempts.get(1, [])] == outcomes


def test_an_attempt_says_what_its_records_say() -> None:
    [failed, running] = told(
        intent(), created(), finished(failed=True, credits=2.5), RETRY, intent(2), created(2)
    ).attempts[1]
    assert (failed.number, failed.job_id, failed.credits, failed.refund) == (1, "job-1", 2.5, "full")
    assert (failed.asked_at, failed.answered_at, failed.finished_at) == (AT, AT, AT)
    assert (running.number, running.job_id, running.credits, running.finished_at) == (2, "job-2", 5, None)


def test_only_what_is_new_has_changed() -> None:
    store = MemoryStore()
    write(store, [intent(item=1), intent(item=2)], [created()], [intent(item=3)])
    assert [read_chronicle(store, "b", after).changed for after in range(4)] == [
        {1, 2, 3},
        {1, 3},
        {3},
        set(),
    ]
    assert read_chronicle(store, "b").seq == 3


def _spent(chronicle: Chronicle) -> dict[int, Decimal]:
    sums = {
        item: sum((Decimal(str(each.credits or 0)) for each in attempts), Decimal(0))
        for item, attempts in chronicle.attempts.items()
    }
    return {item: amount for item, amount in sums.items() if amount}


def _charged(store: Store, path: str) -> dict[int, Decimal]:
    states = read_journal(store, path).state.items
    sums = {
        item: sum((Decimal(str(charge.credits or 0)) for charge in state.charges), Decimal(0))
        for item, state in states.items()
    }
    return {item: amount for item, amount in sums.items() if amount}


@pytest.mark.parametrize("batch", ["settled", "half", "open"])
def test_batches_of_the_first_edition_add_up(batch: str) -> None:
    """Of one of them a snapshot has taken the place of the first segments."""
    store = open_store(str(RECORDED))
    chronicle = read_chronicle(store, batch)
    assert _spent(chronicle) == _charged(store, batch)
    assert chronicle.state.items == read_journal(store, batch).state.items
    outcomes = {each.outcome for attempts in chronicle.attempts.values() for each in attempts}
    assert outcomes == ({Outcome.OPEN} if batch == "open" else {Outcome.SUCCEEDED})


RECORDS: list[AnyItemRecord] = [
    intent(),
    created(credits=0.1),
    finished(failed=True, credits=0.2),
    RETRY,
    intent(2),
    UNKNOWN.model_copy(update={"attempt": 2}),
    RETRY,
    intent(3),
    created(3, credits=None),
    finished(3, credits=3),
    Stored(item=1, at=LATER, outputs=()),
]


@given(lost=st.sets(st.integers(1, len(RECORDS))), upto=st.integers(1, len(RECORDS)))
@example(lost={*range(1, len(RECORDS) + 1)}, upto=len(RECORDS))
def test_what_a_lost_segment_told_is_taken_from_a_snapshot(lost: set[int], upto: int) -> None:
    store = MemoryStore()
    write(store, *([record] for record in RECORDS))
    state = read_journal(store, "b").state
    whole = MemoryStore()
    write(whole, *([record] for record in RECORDS[:upto]))
    store.put(snapshot_key("b", upto), encode_snapshot(upto, "w", None, read_journal(whole, "b").state.items))
    for seq in lost:
        if seq <= upto:
            store.delete(segment_key("b", seq))
    chronicle = read_chronicle(store, "b")
    assert chronicle.state.items == state.items
    assert _spent(chronicle) == _charged(store, "b")
    numbers = [each.number for each in chronicle.attempts[1]]
    assert numbers == list(range(1, len(numbers) + 1))
