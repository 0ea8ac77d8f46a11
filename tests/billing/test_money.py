"""Amounts of money: exact, by currency, by who says what a credit costs, and never more than is known."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prefect_imagine.batches.plan import BatchItem, Plan, read_plan, write_plan
from prefect_imagine.batches.state import BatchState, Charge, ItemState, Phase
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.estimates import estimate_lines, estimate_text
from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.billing.money import Money, amount_text, lacking, lacking_text, money_text
from prefect_imagine.billing.settlement import read_settlement, settle, write_settlement
from prefect_imagine.billing.spending import spent
from prefect_imagine.billing.usage import Tally, Usage, add_tallies
from prefect_imagine.providers.models import CreditPrice, Estimate, GenerationRequest
from prefect_imagine.providers.prices import PriceList, estimate
from prefect_imagine.stores import Store
from tests.batches.memory_store import MemoryStore

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
CENT = CreditPrice(currency="EUR", per_credit=Decimal("0.01"), as_of=date(2026, 11, 1))
DEARER = CENT.model_copy(update={"per_credit": Decimal("0.02"), "as_of": date(2026, 12, 1)})
DOLLAR = CreditPrice(currency="USD", per_credit=Decimal("0.5"), source="provider")
Row = tuple[str, CreditPrice | None, ItemState]


def _stored(*credits: float | None) -> ItemState:
    charges = tuple(Charge(f"j{number}", each) for number, each in enumerate(credits))
    return ItemState(phase=Phase.STORED, intent_at=AT, asked_at=AT, charges=charges)


def _batch(*rows: Row, batch_id: str = "b") -> tuple[Plan, BatchState]:
    items = [
        BatchItem(
            index=index,
            item_id=f"{batch_id}{index}",
            asked="",
            request=GenerationRequest(provider=provider, model="m", prompt="p", labels={"team": "x"}),
            estimate=Estimate(credits=5, source="catalog", credit_price=price),
        )
        for index, (provider, price, _) in enumerate(rows, start=1)
    ]
    states = {index: state for index, (*_, state) in enumerate(rows, start=1)}
    return Plan(batch_id, AT, tuple(items)), BatchState(states)


ROWS: tuple[Row, ...] = (
    ("imaginelab", CENT, _stored(7, 0.1)),
    ("imaginelab", CENT, _stored(None)),
    ("imaginelab", DEARER, _stored(3)),
    ("imaginelab", None, _stored(4)),
    ("blockadelabs", DOLLAR, ItemState(phase=Phase.UNKNOWN, intent_at=AT)),
)


def _told(money: tuple[Money, ...]) -> set[tuple[CreditPrice, str, str, str]]:
    return {(each.price, str(each.charged), str(each.estimated), str(each.possible)) for each in money}


class TestBill:
    def test_it_has_an_amount_for_each_price_and_for_each_kind_of_credits(self) -> None:
        usage = Bill.of(*_batch(*ROWS)).usage(AT)
        lab, skybox = usage.by_provider
        assert _told(lab.money) == {(CENT, "0.071", "0.05", "0.00"), (DEARER, "0.06", "0.00", "0.00")}
        assert _told(skybox.money) == {(DOLLAR, "0.0", "0.0", "2.5")}
        assert _told(usage.money) == _told(lab.money) | _told(skybox.money) == _told(usage.by_label[0].money)
        assert lacking(lab) == {"charged": 4}
        assert lacking_text(lab) == "4 charged credits have no price in money"
        assert money_text(lab.money) == "0.13 EUR + 0.05 EUR est. (price list)"
        assert money_text(usage.money) == (
            "0.13 EUR + 0.05 EUR est. (price list), 2.50 USD possible (told by the provider)"
        )

    def test_what_is_kept_as_json_says_the_same(self) -> None:
        usage = Bill.of(*_batch(*ROWS)).usage(AT)
        assert Usage.model_validate_json(usage.model_dump_json()) == usage

    def test_a_bill_without_prices_of_credits_is_what_it_was(self) -> None:
        plan, state = _batch(("imaginelab", None, _stored(4)))
        settled = settle(plan, state, 1, Bill.of(plan, state), AT)
        assert settled is not None
        assert "money" not in settled.model_dump_json()
        assert "credit_price" not in plan.items[0].estimate.model_dump_json()

    def test_an_item_that_comes_to_cost_nothing_is_in_no_amount(self) -> None:
        plan, state = _batch(ROWS[0])
        bill = Bill.of(plan, state)
        bill.update(plan.items[0], _stored(0))
        assert bill.usage(AT).money == ()

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([CENT, DEARER, DOLLAR, None]),
                st.decimals(0, 10**9, places=6, allow_nan=False).map(float),
            ),
            max_size=8,
        )
    )
    def test_amounts_are_exact_however_they_are_added_up(
        self, costs: list[tuple[CreditPrice | None, float]]
    ) -> None:
        rows: list[Row] = [("imaginelab", price, _stored(credits)) for price, credits in costs]
        expected = {
            price: sum((Decimal(str(c)) * price.per_credit for p, c in costs if p == price), Decimal(0))
            for price in (CENT, DEARER, DOLLAR)
        }
        whole = Bill.of(*_batch(*rows)).usage(AT).money
        assert {each.price: each.charged for each in whole} == {p: a for p, a in expected.items() if a}
        single = [Bill.of(*_batch(row)).usage(AT) for row in rows]
        tallies = [Tally.model_validate(each.model_dump(include=set(Tally.model_fields))) for each in single]
        assert add_tallies("", tallies).money == whole


class TestLedger:
    def test_settled_batches_say_what_open_ones_say(self) -> None:
        plan, state = _batch(*ROWS[:4])
        settled = settle(plan, state, 1, Bill.of(plan, state), AT)
        assert settled is not None
        store: Store = MemoryStore()
        write_settlement(store, settled)
        found = read_settlement(store, "b")
        assert found is not None
        one, other = Ledger(AT.date(), UTC), Ledger(AT.date(), UTC)
        one.add(plan, state)
        other.add_settled(found)
        assert one.by_model == other.by_model
        assert one.by_label == other.by_label
        assert found.bill.usage(AT).money == Bill.of(plan, state).usage(AT).money

    def test_a_price_that_is_given_is_that_of_credits_without_one_alone_and_marked(self) -> None:
        mine = PriceList(currency="CHF", per_credit=Decimal("0.25")).credit_price("given")
        assert mine is not None
        ledger = Ledger(AT.date(), UTC, {"imaginelab": mine})
        ledger.add(*_batch(*ROWS))
        skybox, lab = spent(ledger, "provider")
        assert money_text(lab.money) == ("1.00 CHF (given afterwards), 0.13 EUR + 0.05 EUR est. (price list)")
        assert money_text(skybox.money) == "2.50 USD possible (told by the provider)"
        assert lacking(lab) == {}
        assert {each.source for line in spent(ledger, "label") for each in line.money} == {
            "list",
            "provider",
        }


class TestEstimate:
    def test_it_tells_amounts_with_the_dates_of_their_prices(self) -> None:
        plan, _ = _batch(*ROWS)
        assert estimate_text(estimate_lines(plan.items)) == (
            "5 items: imaginelab 20 credits, 0.10 EUR (price list, as of 2026-11-01), 0.10 EUR (price list, "
            "as of 2026-12-01) without 5 of them; blockadelabs 5 credits, 2.50 USD (told by the provider)"
        )

    def test_the_users_list_beats_what_the_providers_pages_say(self) -> None:
        request = GenerationRequest(provider="imaginelab", model="m", prompt="p")
        pages = PriceList(default=2, currency="USD", per_credit=Decimal("0.5"))
        own = PriceList(currency="EUR", per_credit=Decimal("0.01"), as_of=date(2026, 11, 1))
        assert estimate(request, PriceList(), {}, pages).credit_price == DOLLAR
        found = estimate(request, own, {}, pages)
        assert (found.credits, found.source, found.credit_price) == (2, "price list", CENT)
        assert estimate(request, PriceList(default=1), {}).credit_price is None

    def test_a_plan_keeps_the_price(self) -> None:
        store: Store = MemoryStore()
        plan, _ = _batch(*ROWS)
        assert write_plan(store, plan)
        found = read_plan(store, "b")
        assert found == plan
        assert found is not None
        assert found.items[0].estimate is found.items[1].estimate


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ("0", "0.00 EUR"),
        ("0.005", "0.01 EUR"),
        ("0.0049", "0.0049 EUR"),
        ("0.000012345", "0.000012 EUR"),
        ("12345.675", "12,345.68 EUR"),
    ],
)
def test_what_is_not_nothing_does_not_look_like_it(amount: str, says: str) -> None:
    assert amount_text(Decimal(amount), "EUR") == says


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "EUR"},
        {"per_credit": 1},
        {"as_of": "2026-11-01"},
        {"currency": "eur", "per_credit": 1},
        {"currency": "EURO", "per_credit": 1},
        {"currency": "EUR", "per_credit": 0},
        {"currency": "EUR", "per_credit": "NaN"},
        {"currency": "EUR", "per_credit": "0.12345678901"},
        {"currency": "EUR", "per_credit": 1, "as_of": "yesterday"},
    ],
)
def test_half_a_price_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PriceList.model_validate(wrong)


def test_a_list_falls_back_to_another_with_the_whole_price() -> None:
    euro = PriceList(currency="EUR", per_credit=Decimal("0.01"))
    dollar = PriceList(currency="USD", per_credit=Decimal("0.02"), as_of=date(2026, 11, 1))
    assert (euro.over(dollar).currency, euro.over(dollar).as_of) == ("EUR", None)
    assert PriceList(default=1).over(dollar).credit_price() == dollar.credit_price()
    assert PriceList.model_validate({"currency": "EUR", "per_credit": 0.1}).per_credit == Decimal("0.1")
