"""The bill: charged, estimated, possible and unpriced stay apart, and every number can be traced."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.records import (
    Adopted,
    AnyItemRecord,
    Created,
    Failed,
    Finished,
    Intent,
    Refused,
    Retry,
    Stored,
    Unknown,
)
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.costs import item_cost
from prefect_imagine.billing.usage import Usage, UsageLine, balance_change
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Estimate, GenerationKind, GenerationRequest, GenerationStatus
from prefect_imagine.reports.summary import RequestCounts, summarize

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
REFUSED = Refused(item=1, at=AT, attempt=1, final=True, reason="invalid", message="no")
UNKNOWN = Unknown(item=1, at=AT, attempt=1, message="")
ADOPTED = Adopted(item=1, at=AT, attempt=1, id="j", credits=4)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def make_item(index: int = 1, price: Credits | None = 5, **request: object) -> BatchItem:
    known: dict[str, object] = {"provider": "aivisualstudio", "model": "m", "prompt": "a fox", **request}
    return BatchItem(
        index=index,
        item_id=f"i{index}",
        asked="",
        request=GenerationRequest.model_validate(known),
        estimate=Estimate(credits=price, source="unpriced" if price is None else "catalog"),
    )


def intent(item: int = 1, seconds: float = 0) -> Intent:
    at = later(seconds)
    return Intent(item=item, at=at, attempt=1, provider_at=at, boot="", boot_at=0)


def created(item: int = 1, credits: Credits | None = None, job: str = "j") -> Created:
    return Created(item=item, at=AT, attempt=1, id=job, credits=credits)


def succeeded(item: int = 1, credits: Credits | None = None, job: str = "j") -> Finished:
    return Finished(item=item, at=AT, id=job, status=GenerationStatus.SUCCEEDED, credits=credits)


def failed(credits: Credits | None = None, refund: str | None = None) -> Finished:
    values = {"item": 1, "at": AT, "id": "j", "status": "failed", "credits": credits, "refund": refund}
    return Finished.model_validate(values)


def stored(item: int = 1, seconds: float = 0) -> Stored:
    return Stored(item=item, at=later(seconds), outputs=())


def bill(items: Iterable[BatchItem], *records: AnyItemRecord) -> Usage:
    state = BatchState()
    for record in records:
        state.apply(record)
    return Bill.of(Plan("b", AT, tuple(items)), state).usage(AT)


def amounts(line: Usage | UsageLine) -> tuple[Credits, Credits, Credits]:
    return line.charged, line.estimated, line.possible


@pytest.mark.parametrize(
    ("price", "records", "told"),
    [
        pytest.param(5, [], (0, 0, 0, 0), id="planned"),
        pytest.param(5, [intent()], (0, 0, 5, 0), id="open"),
        pytest.param(None, [intent()], (0, 0, 0, 1), id="open and unpriced"),
        pytest.param(5, [intent(), created(credits=7)], (7, 0, 0, 0), id="charged as told"),
        pytest.param(5, [intent(), created()], (0, 5, 0, 0), id="silent, so estimated"),
        pytest.param(None, [intent(), created()], (0, 0, 0, 1), id="silent and unpriced"),
        pytest.param(5, [intent(), created(), succeeded(credits=7), stored()], (7, 0, 0, 0), id="told late"),
        pytest.param(5, [intent(), created(credits=7), succeeded()], (7, 0, 0, 0), id="told once"),
        pytest.param(5, [intent(), created(credits=7), succeeded(credits=9)], (9, 0, 0, 0), id="corrected"),
        pytest.param(5, [intent(), created(credits=0)], (0, 0, 0, 0), id="free is no silence"),
        pytest.param(5, [intent(), REFUSED], (0, 0, 0, 0), id="refused"),
        pytest.param(5, [intent(), UNKNOWN], (0, 0, 5, 0), id="unknown"),
        pytest.param(5, [intent(), ADOPTED], (4, 0, 0, 0), id="adopted"),
    ],
)
def test_what_an_item_cost(
    price: Credits | None, records: list[AnyItemRecord], told: tuple[Credits, Credits, Credits, int]
) -> None:
    state = BatchState()
    for record in records:
        state.apply(record)
    cost = item_cost(make_item(price=price), state[1])
    assert (cost.charged, cost.estimated, cost.possible, cost.unpriced) == told


@pytest.mark.parametrize(
    ("end", "told", "not_known"),
    [
        pytest.param(failed(credits=0, refund="full"), (0, 0, 0), 0, id="given back"),
        pytest.param(failed(credits=5, refund="none"), (5, 0, 0), 0, id="kept"),
        pytest.param(failed(credits=5, refund="unknown"), (5, 0, 0), 1, id="charged, refund unknown"),
        pytest.param(failed(refund="unknown"), (0, 5, 0), 1, id="silent, refund unknown"),
    ],
)
def test_a_failed_job_s_refund(end: Finished, told: tuple[int, int, int], not_known: int) -> None:
    usage = bill([make_item()], intent(), created(), end)
    assert amounts(usage) == told
    assert (usage.failed, usage.refund_unknown_items) == (1, not_known)


def test_a_retried_item_costs_all_of_its_jobs() -> None:
    retry = Retry(item=1, at=AT)
    again: list[AnyItemRecord] = [retry, intent(), created(credits=6, job="k")]
    assert amounts(bill([make_item()], intent(), created(credits=5), failed(refund="none"), *again)) == (
        11,
        0,
        0,
    )


def test_decimals_add_up_exactly() -> None:
    items = [make_item(index) for index in (1, 2, 3)]
    records = [record for index in (1, 2, 3) for record in (intent(index), created(index, 0.1, f"j{index}"))]
    usage = bill(items, *records)
    assert usage.charged == 0.3
    assert usage.by_provider[0].charged == 0.3


def test_items_are_counted_where_they_stand_and_sum_up() -> None:
    items = [make_item(index) for index in range(1, 7)]
    usage = bill(
        items,
        *(intent(1), created(1, 5, "j"), succeeded(1), stored(1)),
        *(intent(2), Refused(item=2, at=AT, attempt=1, final=True, reason="", message="")),
        *(intent(3), Unknown(item=3, at=AT, attempt=1, message="")),
        *(intent(4), created(4, 5, "k"), Failed(item=4, at=AT, reason="truncated", message="")),
        *(intent(5), created(5, 5, "l")),
    )
    assert (usage.stored, usage.failed, usage.unknown, usage.under_way, usage.planned) == (1, 2, 1, 1, 1)
    assert usage.items == 6


def test_it_is_broken_down_by_provider_model_and_label() -> None:
    items = [
        make_item(1, labels={"team": "a", "campaign": "x"}),
        make_item(2, labels={"team": "b"}, model="n"),
        make_item(3, provider="imagineapi", model=None, kind=GenerationKind.IMAGE),
    ]
    records = [each for index in (1, 2, 3) for each in (intent(index), created(index, index, f"j{index}"))]
    usage = bill(items, *records)
    assert {line.name: line.charged for line in usage.by_provider} == {"aivisualstudio": 3, "imagineapi": 3}
    assert {line.name: line.charged for line in usage.by_model} == {
        "aivisualstudio/image/m": 1,
        "aivisualstudio/image/n": 2,
        "imagineapi/image/default": 3,
    }
    assert {line.name: line.charged for line in usage.by_label} == {"campaign=x": 1, "team=a": 1, "team=b": 2}


DAY = 86_400.0


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        pytest.param([], None, id="none"),
        pytest.param([(2, 5)], 3.0, id="one"),
        pytest.param([(2, 5), (1, 3.26)], 4.0, id="overlapping"),
        pytest.param([(0, 10), (2, 3), (4, 5)], 10.0, id="one within another"),
        pytest.param([(0, 2), (2, 4)], 4.0, id="one after another"),
        pytest.param([(0, 5), (DAY, DAY + 7)], 12.0, id="resumed the next day"),
        pytest.param([(0, 5), (1, DAY), (DAY, DAY + 7)], DAY + 7, id="left under way for a day"),
        pytest.param([(5, 3)], 0.0, id="a clock that was set back"),
    ],
)
def test_seconds_are_those_in_which_something_was_under_way(
    spans: list[tuple[float, float]], seconds: float | None
) -> None:
    items = [make_item(index) for index in range(1, len(spans) + 2)]
    records: list[AnyItemRecord] = [intent(len(items))]  # what is not stored yet does not count
    for index, (begun, ended) in enumerate(spans, start=1):
        records += [intent(index, begun), created(index, 1, f"j{index}"), stored(index, ended)]
    assert bill(items, *records).by_provider[0].seconds == seconds


@pytest.mark.parametrize(
    ("before", "after", "charged", "verdict", "says"),
    [
        (100, 95, 5, "explained", "exactly"),
        (0.3, 0.2, 0.1, "explained", "exactly"),
        (100, 90, 5, "unexplained", "5 more than billed"),
        (100, 99, 5, "unexplained", "4 less than billed"),
        (100, 200, 5, "unexplained", "105 less than billed"),
    ],
)
def test_a_balance_is_held_against_the_bill(
    before: Credits, after: Credits, charged: Credits, verdict: str, says: str
) -> None:
    change = balance_change("p", before, after, charged)
    assert change.verdict == verdict
    assert says in change.note


@pytest.mark.parametrize(("possible", "blamed"), [(5, True), (6, True), (4, False), (0, False)])
def test_what_unknown_creates_may_have_cost_explains_a_balance_first(possible: Credits, blamed: bool) -> None:
    note = balance_change("p", 100, 90, 5, possible).note
    assert ("creates whose fate is unknown" in note) is blamed


@pytest.mark.parametrize(("left", "explained"), [(10, True), (5, False)])
def test_what_an_earlier_run_has_paid_for_is_no_top_up(left: int, explained: bool) -> None:
    note = balance_change("p", 100, 95, 15, 0, left).note
    assert note.startswith("the balance fell by 5, the jobs of this run cost 15: 10 less than billed, by ")
    assert ("creates of an earlier run, which were paid before this one" in note) is explained


def test_the_summary_takes_its_numbers_from_the_bill() -> None:
    usage = bill(
        [make_item(1), make_item(2, price=None)], intent(1), created(1, 5, "j"), stored(1), intent(2)
    )
    summary = summarize(usage, "s3://b/p", RequestCounts(create=2), ())
    assert (summary.items.total, summary.items.stored, summary.items.under_way) == (2, 1, 1)
    assert (summary.credits.charged, summary.credits.estimated, summary.unpriced_items) == (5, 0, 1)
    assert (summary.manifest, summary.report) == ("s3://b/p/b/manifest.jsonl", "s3://b/p/b/report.html")
    assert (summary.error, summary.exit_code) == (None, 1)
