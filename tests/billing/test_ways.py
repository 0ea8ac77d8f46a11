"""What an item has cost that was created in several ways: under the provider, model and price of each."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings

from prefect_imagine.batches.plan import Alternative, BatchItem, Plan
from prefect_imagine.batches.reading import Entry
from prefect_imagine.batches.records import ItemRecord
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.budgets.amounts import amounts_of
from prefect_imagine.billing.costs import committed, item_cost
from prefect_imagine.metrics.figures import Figures
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import Estimate, GenerationRequest
from tests.batches.journals import AT
from tests.batches.test_snapshots import histories

WAYS = (("imaginelab", "flux", 5), ("imaginelab", "lumina", 7), ("aivisualstudio", None, 11))


def item(index: int) -> BatchItem:
    """One that may be created in three ways, two of them at the same provider."""
    ways = [
        Alternative(provider=name, model=model, settings={}, estimate=Estimate(credits=price, source="x"))
        for name, model, price in WAYS
    ]
    request = GenerationRequest(provider=ways[0].provider, model=ways[0].model, prompt=f"p{index}")
    return BatchItem(
        index=index,
        item_id=f"i{index}",
        asked="a",
        request=request,
        estimate=ways[0].estimate,
        alternatives=tuple(ways),
    )


PLAN = Plan("b", AT, tuple(map(item, range(1, 5))))


@settings(deadline=None, max_examples=150)
@given(entries=histories())
def test_kept_record_by_record_all_books_say_what_they_say_of_the_whole(entries: list[Entry]) -> None:
    state, bill, figures = BatchState(), Bill.of(PLAN, BatchState()), Figures()
    counted = dict.fromkeys(range(1, 5), BatchState()[1])
    for each in PLAN.items:
        figures.update(each, counted[each.index], None)
    for entry in entries:
        state.apply(entry)
        if isinstance(entry, ItemRecord):
            now = state[entry.item]
            bill.update(PLAN.item(entry.item).by(now.alternative), now)
            figures.update(PLAN.item(entry.item), now, counted[entry.item])
            counted[entry.item] = now
    whole = Bill.of(PLAN, state)
    assert _without_empty(bill) == _without_empty(whole)
    assert bill.counts == whole.counts
    assert bill.counts.total == len(PLAN.items)
    anew = Figures()
    for each in PLAN.items:
        anew.update(each, state[each.index], None)
    for name, known in anew:
        assert dict(figures)[name].charged == known.charged
        assert +dict(figures)[name].places == +known.places
    assert {each.name: each.failed for each in figures.outcomes if each.failed} == {
        each.name: each.failed for each in anew.outcomes if each.failed
    }


@settings(deadline=None, max_examples=150)
@given(entries=histories())
def test_limits_and_budgets_count_what_the_bill_counts(entries: list[Entry]) -> None:
    state = BatchState()
    for entry in entries:
        state.apply(entry)
    by_provider: dict[str, Decimal] = {}
    for each in PLAN.items:
        known = state[each.index]
        amounts = committed(each, known)
        for name, amount in amounts.items():
            by_provider[name] = by_provider.get(name, Decimal(0)) + amount
        told, whole = item_cost(each, known), sum(amounts.values(), Decimal(0))
        assert add_credits([told.charged, told.estimated, told.possible]) == add_credits([whole])
        assert sum((one.credits for one in amounts_of(each, known)), Decimal(0)) == whole
    assert _some(by_provider) == _some(Bill.of(PLAN, state).committed)


def _some(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    return {name: amount for name, amount in amounts.items() if amount}


def _without_empty(bill: Bill) -> dict[str, object]:
    """The bill without lines of models of which it holds nothing any more."""
    told = bill.usage(AT).model_dump(exclude={"by_provider", "by_model"})
    lines = {
        group: {
            line.name: line.model_dump(exclude={"seconds"})
            for line in getattr(bill.usage(AT), group)
            if line.items or line.charged or line.estimated or line.possible or line.unpriced
        }
        for group in ("by_provider", "by_model")
    }
    return {**told, **lines}
