"""What a batch has to become: by fingerprint and occurrence, whatever the order of the rows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from prefect_imagine.batches.state import WITHDRAWABLE, Phase
from prefect_imagine.engine.planning.difference import Difference, Holdings
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.models import GenerationRequest


def row(prompt: str) -> RequestedItem:
    return RequestedItem(1, GenerationRequest(provider="imaginelab", prompt=prompt), None)


def holdings(*items: tuple[str, Phase]) -> Holdings:
    found = Holdings()
    for index, (prompt, phase) in enumerate(items, start=1):
        found.add(index, row(prompt).fingerprint, phase)
    return found


def difference(held: Holdings, *prompts: str) -> Difference:
    return held.difference([row(prompt) for prompt in prompts])


def test_rows_are_told_apart_by_what_they_ask_for_and_not_by_their_order() -> None:
    found = difference(holdings(("a", Phase.STORED), ("b", Phase.PLANNED)), "b", "c", "a")
    assert [each.request.prompt for each in found.new] == ["c"]
    assert (found.kept, found.withdrawn, found.restored) == (2, frozenset(), frozenset())
    assert not found.unchanged


def test_the_same_row_three_times_is_three_items() -> None:
    found = difference(holdings(("a", Phase.STORED), ("a", Phase.PLANNED)), *"aaa")
    assert (len(found.new), found.kept) == (1, 2)


def test_of_items_for_the_same_row_those_are_kept_that_most_has_become_of() -> None:
    held = holdings(("a", Phase.FAILED), ("a", Phase.PLANNED), ("a", Phase.STORED), ("a", Phase.CREATED))
    assert difference(held, *"aa").withdrawn == {1, 2}
    assert difference(held, *"aaa").withdrawn == {1}


def test_what_may_have_been_paid_for_is_not_withdrawn() -> None:
    phases = [phase for phase in Phase if phase not in WITHDRAWABLE]
    found = difference(holdings(*((phase.value, phase) for phase in phases)), "something else")
    assert found.withdrawn == frozenset()
    may_follow = (Phase.OPEN, Phase.UNKNOWN, Phase.CREATED)
    assert found.gone == {phases.index(phase) + 1 for phase in may_follow}


def test_a_withdrawn_item_comes_back_with_its_row_before_a_new_one_is_made() -> None:
    found = difference(holdings(("a", Phase.WITHDRAWN), ("a", Phase.STORED)), *"aaa")
    assert found.restored == {1}
    assert (found.kept, len(found.new)) == (1, 1)


ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Phase))), max_size=12)


@given(ITEMS, st.lists(st.sampled_from("abc"), max_size=12))
def test_every_row_has_one_item_and_nothing_else_is_to_be_created(
    items: list[tuple[str, Phase]], prompts: list[str]
) -> None:
    found = difference(holdings(*items), *prompts)
    assert len(found.new) + found.kept + len(found.restored) == len(prompts)
    held, wanted = Counter(prompt for prompt, _ in items), Counter(prompts)
    assert Counter(each.request.prompt for each in found.new) == wanted - held
    surplus = (held - wanted).total()
    left = {index for index, (_, phase) in enumerate(items, start=1) if phase is not Phase.WITHDRAWN}
    assert len(left - found.withdrawn) + len(found.restored) >= (held & wanted).total()
    assert len(found.withdrawn) <= surplus
    assert found.withdrawn <= found.gone
