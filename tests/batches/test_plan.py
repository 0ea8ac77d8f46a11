"""The plan: written once, read back as it was, and the same batch only for the same prompts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prefect_imagine.batches.plan import (
    BatchItem,
    Plan,
    asked_hash,
    check_batch_id,
    make_item_id,
    plan_key,
    read_plan,
    shortened,
    write_plan,
)
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.providers.models import Estimate, GenerationKind, GenerationRequest
from prefect_imagine.stores import Store, open_store

AT = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)


def make_plan(*prompts: str, batch_id: str = "b1") -> Plan:
    items = tuple(
        BatchItem(
            index=index,
            item_id=make_item_id(batch_id, index, prompt),
            name="fox" if index == 1 else None,
            asked=prompt,
            request=GenerationRequest(
                provider="imaginelab" if index % 2 else "blockadelabs",
                kind=GenerationKind.VIDEO,
                model="m",
                prompt=prompt,
                settings={"seed": 2**60, "ratio": 0.1, "nested": {"ä": [1, None, True]}},
                labels={"team": "größe"},
            ),
            estimate=Estimate(credits=1.5, source="catalog"),
        )
        for index, prompt in enumerate(prompts, start=1)
    )
    return Plan(batch_id, AT, items)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def test_a_plan_reads_back_as_it_was_written(store: Store) -> None:
    plan = make_plan("a fox", "two\nlines \u2028 and \x85 more", "🦊")
    assert write_plan(store, plan)
    assert read_plan(store, "b1") == plan


def test_a_plan_is_written_once(store: Store) -> None:
    assert write_plan(store, make_plan("first"))
    assert not write_plan(store, make_plan("second"))
    found = read_plan(store, "b1")
    assert found is not None
    assert found.items[0].request.prompt == "first"


def test_there_is_one_line_an_item(store: Store) -> None:
    write_plan(store, make_plan("a", "b"))
    lines = (store.read(plan_key("b1")) or b"").decode().split("\n")
    assert [json.loads(line)["index"] for line in lines if line] == [1, 2]


def test_no_plan_is_none(store: Store) -> None:
    assert read_plan(store, "b1") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.split(b"\n", 1)[1],
        lambda data: data + data,
        lambda data: data.replace(b'"format":1', b'"format":99'),
        lambda data: data.replace(b'"item_id"', b'"item_name"'),
    ],
    ids=["empty", "cut", "first line lost", "doubled", "of a later version", "another shape"],
)
def test_a_damaged_plan_is_an_error_and_never_half_a_batch(store: Store, damage: object) -> None:
    write_plan(store, make_plan("a", "b", "c"))
    data = store.read(plan_key("b1"))
    assert data is not None
    assert callable(damage)
    store.put(plan_key("b1"), damage(data))
    with pytest.raises(StoreError, match="the plan of"):
        read_plan(store, "b1")


@pytest.mark.parametrize("batch_id", ["a", "A-1_b.c", "0" * 120])
def test_these_can_be_batch_ids(batch_id: str) -> None:
    assert check_batch_id(batch_id) == batch_id


@pytest.mark.parametrize(
    "batch_id", ["", ".", "..", "../x", "a/b", "-a", "_a", ".a", "a b", "ä", "a\n", "0" * 121]
)
def test_these_cannot_be_batch_ids(batch_id: str, store: Store) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a batch id"):
        check_batch_id(batch_id)
    with pytest.raises(ConfigurationError):
        read_plan(store, batch_id)


def test_the_hash_of_what_is_asked_for_is_that_of_all_rows_in_order() -> None:
    plan = make_plan("a", "b")
    assert plan.asked == asked_hash(["a", "b"])
    assert plan.asked not in [asked_hash(each) for each in (["b", "a"], ["a"], ["a", "b", "b"], ["ab"], [])]


def test_item_ids_differ_between_items_and_batches() -> None:
    ids = {make_item_id(batch, index, "a") for batch in ("b1", "b2") for index in (1, 2, 12)}
    assert len(ids) == 6


def test_items_are_found_by_index() -> None:
    plan = make_plan("a", "b", "c")
    assert plan.providers == ("imaginelab", "blockadelabs")
    assert plan.item(2).request.prompt == "b"


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a fox", "a fox"),
        ("a\n  fox\tred", "a fox red"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
    ],
)
def test_a_title_is_the_start_of_the_prompt_on_one_line(prompt: str, shown: str) -> None:
    assert shortened(prompt) == shown
    assert make_plan(prompt).item(1).title == f"1 {shown}"
