"""What shards may cost whose batch has a limit: never more together than that, and all of it where it is
needed."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.batches.fleet.shares import Portion, shares

credits = st.decimals(min_value=0, max_value=10_000, places=3).map(float)
amounts = st.dictionaries(st.sampled_from(["imaginelab", "aivisualstudio"]), credits)
portions = st.dictionaries(
    st.integers(1, 500), st.builds(Portion, committed=amounts, expected=amounts), min_size=1, max_size=12
)


def _of(amounts: dict[str, float | int], provider: str | None) -> Decimal:
    found = (Decimal(str(each)) for name, each in amounts.items() if provider in (None, name))
    return sum(found, Decimal(0))


@given(credits, credits, portions, st.sampled_from([None, "imaginelab"]))
def test_together_they_never_pass_the_limit(
    limit: float, carried: float, known: dict[int, Portion], provider: str | None
) -> None:
    found = shares(limit, carried, known, provider)
    committed = {number: _of(each.committed, provider) for number, each in known.items()}
    spent = Decimal(str(carried)) + sum(committed.values())
    assert found.keys() == known.keys()
    assert all(Decimal(str(found[number])) >= committed[number] for number in known)
    together = Decimal(str(carried)) + sum(Decimal(str(each)) for each in found.values())
    assert together <= max(spent, Decimal(str(limit)))


@given(credits, portions)
def test_what_is_enough_for_all_is_enough_for_each(carried: float, known: dict[int, Portion]) -> None:
    needed = {number: _of(each.committed, None) + _of(each.expected, None) for number, each in known.items()}
    limit = float(Decimal(str(carried)) + sum(needed.values()))
    found = shares(limit, carried, known)
    assert all(Decimal(str(found[number])) >= needed[number] for number in known)


def test_whoever_comes_first_gets_what_it_needs() -> None:
    known = {number: Portion(expected={"imaginelab": 100}) for number in (3, 1, 2)}
    assert shares(150, 0, known) == {1: 100, 2: 50, 3: 0}
    assert shares(330, 0, known) == {1: 110, 2: 110, 3: 110}
