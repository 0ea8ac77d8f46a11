"""An account against the books: what is unexplained, what may explain it, and what cannot be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from prefect_imagine.batches.accounts.marks import BalanceMark, BookSums, put_mark, read_mark
from prefect_imagine.batches.accounts.record import (
    AccountRecord,
    believed,
    change_account_record,
    note_balance,
    read_account_records,
)
from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, Charge, ItemState, Phase
from prefect_imagine.billing.account_books import account_books
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.booked import Booked
from prefect_imagine.billing.settlement import settle
from prefect_imagine.billing.statements import FIRST, Seen, statement
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.models import Balance, Estimate, GenerationRequest
from prefect_imagine.stores import Store
from tests.batches.memory_store import MemoryStore

AT = datetime(2026, 11, 20, 6, tzinfo=UTC)
SINCE = datetime(2026, 11, 6, tzinfo=UTC)
MARK = BalanceMark(
    provider="imaginelab",
    balance=100,
    at=AT,
    since=SINCE,
    books=BookSums(charged=Decimal("40.1")),
    creates={"a": 8, "b": 3},
)


def seen(balance: float, charged: str, **known: Any) -> Seen:
    books = BookSums(charged=Decimal(charged), **known.pop("books", {}))
    return Seen("imaginelab", "a", balance, books, {"a": 9, "b": 3, **known.pop("creates", {})}, **known)


def test_the_first_report_only_begins() -> None:
    told = statement(None, seen(100, "40"))
    assert (told.unexplained, told.since, told.note) == (None, None, FIRST)


@pytest.mark.parametrize(
    ("balance", "charged", "expected", "says"),
    [
        (99.9, "40.2", (0.1, 0, 0), "fell by 0.1, and the books charged 0.1 credits: 0 are unexplained"),
        (100, "40.1", (0, 0, 0), "did not change, and the books charged 0 credits: 0 are unexplained"),
        (95, "40.1", (0, 5, 0), "5 are unexplained: use of the account elsewhere"),
        (105, "35.1", (-5, 0, 0), "rose by 5, and the books gave 5 credits back: 0 are unexplained"),
        (590, "50.1", (10, 0, 500), "500 were added, or came back: a top-up or refunds that no record shows"),
        (98, "45.1", (5, 0, 3), "fell by 2, and the books charged 5 credits: 3 were added, or came back"),
    ],
)
def test_a_balance_is_held_against_the_books(
    balance: float, charged: str, expected: tuple[float, float, float], says: str
) -> None:
    told = statement(MARK, seen(balance, charged))
    assert (told.charged, told.unexplained, told.added) == expected
    assert told.note.startswith("since 2026-11-20 06:00 UTC the balance ")
    assert says in told.note


def test_what_may_explain_a_rest_is_named_and_not_subtracted() -> None:
    books = {"possible": Decimal(5), "estimated": Decimal(2), "under_way": 3}
    told = statement(MARK, seen(90, "40.1", books=books))
    assert told.unexplained == 10
    assert told.note.endswith(
        "10 are unexplained: creates of unknown fate (5 possible), jobs whose cost nobody tells (2 "
        "estimated), charges of the moment (3 jobs were under way now) or use of the account elsewhere"
    )
    before = MARK.model_copy(update={"books": BookSums(charged=Decimal("40.1"), **books)})
    told = statement(before, seen(100, "45.1"))
    assert told.added == 5
    assert "creates found since that were of unknown fate then (5 possible)" in told.note
    assert "(3 jobs were under way at the last report)" in told.note


def test_accounts_of_one_provider_are_not_told_apart_if_several_were_used() -> None:
    told = statement(MARK, seen(95, "45.1", creates={"b": 4, "c": 1}))
    assert (told.charged, told.unexplained, told.added) == (5, None, None)
    assert "2 more of imaginelab's accounts were used here" in told.note


def test_batches_that_only_one_of_two_reports_could_read_are_named() -> None:
    assert "unread" not in statement(MARK, seen(100, "40.1")).note
    broken = MARK.model_copy(update={"left_out": ("old", "both")})
    told = statement(broken, seen(100, "40.1", left_out=["both", "new"]))
    assert told.note.endswith("nothing is known: new, old")


def _batch(*items: tuple[datetime, float]) -> tuple[Plan, BatchState]:
    request = GenerationRequest(provider="imaginelab", model="m", prompt="p")
    estimate = Estimate(credits=5, source="catalog")
    plan = [
        BatchItem(index=index, item_id=f"i{index}", asked="", request=request, estimate=estimate)
        for index, _ in enumerate(items, start=1)
    ]
    states = {
        index: ItemState(phase=Phase.STORED, intent_at=at, asked_at=at, charges=(Charge("j", credits),))
        for index, (at, credits) in enumerate(items, start=1)
    }
    return Plan("b", SINCE, tuple(plan)), BatchState(states)


def test_the_books_since_a_moment_are_the_same_settled_or_not() -> None:
    before, after = SINCE - timedelta(seconds=1), AT + timedelta(seconds=1)
    plan, state = _batch((before, 1), (SINCE, 2), (AT, 4.5))
    settled = settle(plan, state, 1, Bill.of(plan, state), AT)
    assert settled is not None
    one, other = Booked(SINCE, AT), Booked(SINCE, AT)
    one.add(plan, state)
    other.add_settled(settled)
    assert one.of("imaginelab") == other.of("imaginelab") == BookSums(charged=Decimal("6.5"))
    assert one.of("blockadelabs") == BookSums()
    later = Booked(SINCE, AT)
    later.add(*_batch((after, 9)))  # created once the balance was read
    assert later.of("imaginelab") == BookSums()


def test_a_mark_is_kept_as_it_is_and_never_replaced_by_an_earlier_one() -> None:
    store: Store = MemoryStore()
    assert read_mark(store, "a") is None
    put_mark(store, "a", MARK)
    earlier = MARK.model_copy(update={"at": AT - timedelta(days=1), "balance": 7})
    put_mark(store, "a", earlier)
    found = read_mark(store, "a")
    assert found is not None
    assert found.model_copy(update={"write": ""}) == MARK
    store.put(".imagine/balances/a.json", b'{"of another": "version"}')
    assert read_mark(store, "a") is None


def test_zero_is_believed_of_an_account_that_had_more() -> None:
    store: Store = MemoryStore()
    assert believed(store, "a", 3)
    assert not believed(store, "a", 0)
    change_account_record(store, "a", "imaginelab", lambda known: known.with_traffic({"create": 1}, 0))
    note_balance(store, "a", 0, AT)
    assert read_account_records(store)["a"].balance is None
    assert not believed(store, "a", 0)
    change_account_record(store, "a", "imaginelab", lambda known: known.with_balance(3, AT))
    later = AT + timedelta(hours=1)
    change_account_record(store, "a", "imaginelab", lambda known: known.with_balance(0, later))
    assert (read_account_records(store)["a"].balance, believed(store, "a", 0)) == (0, True)


def test_only_accounts_that_were_used_under_the_root_are_held_against_its_books() -> None:
    store: Store = MemoryStore()
    change_account_record(store, "a", "imaginelab", lambda known: AccountRecord(provider="imaginelab"))
    balances = [
        AccountBalance("imaginelab", Balance(provider="imaginelab", credits=5), identity="a"),
        AccountBalance("other", Balance(provider="other", credits=5), identity="b"),
        AccountBalance("blind", Balance(provider="blind", credits=0), identity="c"),
        AccountBalance("silent", None, "the provider reports none"),
    ]
    known = account_books(store, balances, AT, SINCE)
    assert [each.provider for each in known.statements()] == ["imaginelab"]
    assert set(known.told) == {"imaginelab", "other"}
    notes = {each.provider: each.note for each in known.balances}
    assert notes["silent"] == "the provider reports none"
    assert notes["blind"].startswith("not told: ")
    known.note(store)
    assert [each.key for each in store.list(".imagine/balances/")] == [".imagine/balances/a.json"]
