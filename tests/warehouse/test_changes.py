"""A load costs by what has changed, and misses nothing, wherever it comes from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from prefect_imagine.batches.index import ACTIVE, INDEX, ensure_index, settle_batch
from prefect_imagine.batches.origin import Origin, write_origin
from prefect_imagine.batches.plan import write_plan
from prefect_imagine.batches.reading import read_journal, segment_key, snapshot_key
from prefect_imagine.batches.records import Absent, Header, to_line
from prefect_imagine.batches.shards import FIRST
from prefect_imagine.batches.snapshot import encode_snapshot
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse.changes import (
    REMEMBERED,
    Change,
    ChangedBatch,
    ChangedShard,
    State,
    changes,
)
from tests.batches.memory_store import MemoryStore
from tests.billing.test_attempts import write
from tests.billing.test_usage import AT, created, intent, stored, succeeded
from tests.engine.engine_runs import Runs, numbered
from tests.engine.fake_provider import plan_of
from tests.engine.test_root_index import LONG_AGO, settled_batch, write_batch
from tests.warehouse.loading import CountingStore, Warehouse


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


def look(store: Store, state: State) -> list[Change]:
    """What has changed; the state goes through JSON, as a dataset keeps it."""
    found = list(changes(store, state))
    kept = json.loads(json.dumps(state))
    state.clear()
    state.update(kept)
    return found


def batches(found: list[Change]) -> list[str]:
    return [each.batch_id for each in found if isinstance(each, ChangedBatch)]


def items(found: list[Change]) -> int:
    return sum(len(each.items) for each in found if isinstance(each, ChangedShard))


def settle(store: Store, batch_id: str, seq: int = 1) -> None:
    settle_batch(store, batch_id, LONG_AGO, {FIRST: seq})


def later(memory: MemoryStore, seconds: float) -> None:
    """Everything that is there was written so long ago."""
    memory.files = {key: (data, n, at - seconds) for key, (data, n, at) in memory.files.items()}


def requests(store: Store, state: State) -> Mapping[str, int]:
    counting = CountingStore(store)
    assert look(counting, state) == []
    return counting.taken()


def test_what_is_settled_and_loaded_costs_nothing_but_the_listing(memory: MemoryStore) -> None:
    ensure_index(memory)
    settled_batch(memory, "one")
    settle(memory, "one")
    state: State = {}
    assert batches(look(memory, state)) == ["one"]
    few = requests(memory, state)
    for number in range(50):
        settled_batch(memory, f"night-{number}")
        settle(memory, f"night-{number}")
    assert len(batches(look(memory, state))) == 50
    assert requests(memory, state) == few
    assert few == {"list": 2, "folders": 1}


def test_what_is_not_settled_costs_a_look_a_shard(memory: MemoryStore) -> None:
    ensure_index(memory)
    write_batch(memory, "open", intent())
    state: State = {}
    assert items(look(memory, state)) == 1
    assert requests(memory, state) == {"list": 2, "folders": 2, "head": 1, "pieces": 1}


def made_anew(memory: MemoryStore, batch_id: str) -> None:
    """Delete a batch, and make another one under its name."""
    for key in [key for key in memory.files if key.startswith(f"{batch_id}/") or f"~{batch_id}" in key]:
        memory.delete(key)
    write_plan(memory, replace(plan_of("a kite", batch_id=batch_id), planned_at=utc_now()))


@pytest.mark.parametrize("settled", [False, True])
def test_a_batch_that_is_made_anew_under_its_name_is_another_one(memory: MemoryStore, settled: bool) -> None:
    ensure_index(memory)
    state: State = {}
    made = []
    for _ in range(3):
        made_anew(memory, "night")
        write_batch(
            memory, "night", *([intent(), created(), succeeded(), stored()] if settled else [intent()])
        )
        if settled:
            settle(memory, "night")
        found = look(memory, state)
        assert (batches(found), items(found)) == (["night"], 1)
        made += [each.made_at for each in found if isinstance(each, ChangedBatch)]
        assert look(memory, state) == []
    assert len(set(made)) == 3


def test_a_batch_of_the_first_edition_that_gets_an_origin_is_the_same(memory: MemoryStore) -> None:
    ensure_index(memory)
    state: State = {}
    write_batch(memory, "night", intent())
    [_, first] = look(memory, state)
    write_origin(memory, Origin(batch_id="night", source=None, created=utc_now()))
    memory.put(segment_key("night", 2), to_line(Header(seq=2, writer="w", lines=1)) + to_line(created()))
    [_, second] = look(memory, state)
    assert isinstance(first, ChangedBatch)
    assert isinstance(second, ChangedBatch)
    assert first.made_at == second.made_at


def test_who_cannot_be_read_is_told(memory: MemoryStore) -> None:
    ensure_index(memory)
    write_batch(memory, "whole", intent())
    write_batch(memory, "newer", intent())
    memory.put(segment_key("newer", 2), to_line(Header(format=9, seq=2, writer="w", lines=0)))
    told: list[str] = []
    found = list(changes(memory, {}, lambda name, error: told.append(f"{name}: {error}")))
    assert batches(found) == ["whole"]
    assert told == ["newer: the journal has format 9: a newer version wrote it"]


def test_a_batch_that_was_settled_long_ago_is_not_remembered(memory: MemoryStore) -> None:
    ensure_index(memory)
    for name in ("old", "new"):
        settled_batch(memory, name)
        settle(memory, name)
    state: State = {}
    look(memory, state)
    later(memory, REMEMBERED + 60)
    settle(memory, "new", 1)
    look(memory, state)
    assert set(state["batches"]) == {"new"}
    assert look(memory, state) == []


@pytest.mark.parametrize("seconds", [0.0, 60.0, REMEMBERED + 60])
def test_a_batch_that_settles_again_is_loaded_again(memory: MemoryStore, seconds: float) -> None:
    """With its new items alone as long as it is remembered; later as a whole. Its last create is the same."""
    ensure_index(memory)
    for name in ("again", "other"):
        settled_batch(memory, name)
        settle(memory, name)
    state: State = {}
    look(memory, state)
    later(memory, seconds)
    settle(memory, "other", 1)
    look(memory, state)
    data = memory.read(segment_key("again", 1)) or b""
    memory.put(segment_key("again", 2), data.replace(b'"seq":1', b'"seq":2'))
    settle(memory, "again", 2)
    found = look(memory, state)
    assert batches(found) == ["again"]
    assert items(found) == 1
    assert look(memory, state) == []


def test_a_batch_shows_when_it_has_settled(memory: MemoryStore) -> None:
    """Also where nothing else has come to it."""
    ensure_index(memory)
    settled_batch(memory, "b")
    memory.put(f"{ACTIVE}b~00000001", b"")
    state: State = {}
    [_, active] = look(memory, state)
    settle(memory, "b")
    [settled] = look(memory, state)
    assert isinstance(active, ChangedBatch)
    assert isinstance(settled, ChangedBatch)
    assert (active.settled, settled.settled) == (False, True)


def test_a_batch_without_news_is_no_news_though_it_is_listed_again(memory: MemoryStore) -> None:
    ensure_index(memory)
    settled_batch(memory, "b")
    settle(memory, "b")
    state: State = {}
    look(memory, state)
    settle(memory, "b")
    assert items(look(memory, state)) == 0


def test_roots_without_an_index_and_what_was_brought_there(memory: MemoryStore) -> None:
    settled_batch(memory, "first-edition")
    memory.put("team/x.png", b"-")
    state: State = {}
    assert batches(look(memory, state)) == ["first-edition"]
    assert look(memory, state) == []
    ensure_index(memory)
    write_batch(memory, "moved-here", intent(), created(credits=5), succeeded(), stored())
    assert batches(look(memory, state)) == ["moved-here"]
    assert look(memory, state) == []


def test_a_damaged_batch_keeps_nothing_else_out_and_is_tried_again(
    memory: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_index(memory)
    for name in ("whole", "hurt"):
        settled_batch(memory, name)
        settle(memory, name)
    plan = memory.read("hurt/plan.jsonl") or b""
    memory.put("hurt/plan.jsonl", plan[:-20])
    state: State = {}
    assert batches(look(memory, state)) == ["whole"]
    assert "batch hurt cannot be read and is left out" in caplog.text
    later(memory, REMEMBERED + 60)
    settled_batch(memory, "third")
    settle(memory, "third")
    assert batches(look(memory, state)) == ["third"]
    memory.put("hurt/plan.jsonl", plan)
    assert batches(look(memory, state)) == ["hurt"]
    assert look(memory, state) == []


def test_a_batch_that_is_gone_is_forgotten(memory: MemoryStore) -> None:
    ensure_index(memory)
    write_batch(memory, "b", intent())
    state: State = {}
    look(memory, state)
    memory.files = {key: found for key, found in memory.files.items() if key == INDEX}
    assert look(memory, state) == []
    assert state["batches"] == {}


def test_two_roots_do_not_share_a_dataset(tmp_path: Path, memory: MemoryStore, warehouse: Warehouse) -> None:
    for name in ("one", "two"):
        settled_batch(open_store(str(tmp_path / name)), "b")
    warehouse.load(str(tmp_path / "one"))
    loaded = warehouse.table("batches", "*")
    with pytest.raises(
        ConfigurationError, match=r"holds the batches of .*one: load those of .*two into another"
    ):
        warehouse.load(str(tmp_path / "two"))
    assert warehouse.table("batches", "*") == loaded


async def test_a_second_load_costs_the_same_whatever_is_settled(runs: Runs, warehouse: Warehouse) -> None:
    """In a bucket, through dlt."""
    counting = CountingStore(runs.store)

    async def costs() -> Mapping[str, int]:
        loaded = await asyncio.to_thread(warehouse.load, counting)
        assert loaded.rows == {}
        return counting.taken()

    await runs.run(numbered("imaginelab", 3), batch="first", shard_size=2)
    await asyncio.to_thread(warehouse.load, runs.store)
    few = await costs()
    for number in range(4):
        await runs.run(numbered("imaginelab", 3), batch=f"night-{number}", shard_size=2)
    counting.taken()
    loaded = await asyncio.to_thread(warehouse.load, counting)
    assert loaded.rows["generations"] == 12
    counting.taken()
    assert await costs() == few == {"list": 2, "folders": 1, "head": 1}


async def test_a_resumed_batch_is_loaded_again_from_a_bucket(runs: Runs, warehouse: Warehouse) -> None:
    """Times of a bucket are whole seconds: what settles twice in one is told by what the entry holds."""
    rows = numbered("imaginelab", 4)
    await runs.run(rows)
    await asyncio.to_thread(warehouse.load, runs.store)
    await runs.run([*rows, *numbered("aivisualstudio", 1)])
    second = await asyncio.to_thread(warehouse.load, runs.store)
    assert second.rows["generations"] == 1


def test_the_time_that_is_remembered_is_a_week() -> None:
    """As docs/warehouse.md says."""
    assert timedelta(seconds=REMEMBERED) == timedelta(days=7)


def test_a_root_that_was_misspelt_does_not_keep_the_dataset(tmp_path: Path, warehouse: Warehouse) -> None:
    store = open_store(str(tmp_path / "right"))
    write_batch(store, "night", intent())
    assert warehouse.load(str(tmp_path / "rihgt")).empty
    assert warehouse.load(store).rows["generations"] == 1
    other = open_store(str(tmp_path / "other"))
    write_batch(other, "night", intent())
    for full in (False, True):
        with pytest.raises(ConfigurationError, match="this dataset holds the batches of"):
            warehouse.load(other, full=full)


async def test_all_that_was_paid_for_under_one_name_is_there(runs: Runs, warehouse: Warehouse) -> None:
    for count in (5, 5, 2, 7):
        await runs.run(numbered("imaginelab", count))
        await asyncio.to_thread(warehouse.load, runs.store)
        for found in [*runs.store.list("batch/")]:
            runs.store.delete(found.key)
    charged = runs.sandbox.report(jobs=False)["charged"]["imaginelab"]
    assert charged == 19 * 5
    assert warehouse.charged() == {"imaginelab": charged}
    assert warehouse.query("select sum(credits), count(*) from attempts") == [(charged, 19)]
    for group in ("provider", "model"):
        sums = f"select sum(charged), sum(items) from usage_lines where grouped_by = '{group}'"
        assert warehouse.query(sums) == [(charged, 19)]
    assert warehouse.query("select items from batches order by made_at") == [(5,), (5,), (2,), (7,)]


def test_attempts_that_a_lost_segment_told_are_not_there_twice(tmp_path: Path, warehouse: Warehouse) -> None:
    store = open_store(str(tmp_path / "root"))
    write_plan(store, plan_of("a kite", batch_id="b"))
    absent = Absent(item=1, at=AT, attempt=1)
    second = {"attempt": 2}
    again = (intent().model_copy(update=second), created(credits=5).model_copy(update=second))
    write(store, [intent()], [absent], *([each] for each in (*again, succeeded(), stored())))
    warehouse.load(store)
    assert warehouse.query("select attempt, credits from attempts order by 1") == [(1, None), (2, 5)]
    state = read_journal(store, "b").state
    store.put(snapshot_key("b", 6), encode_snapshot(6, "w", None, state.items))
    for seq in (1, 2):
        store.delete(segment_key("b", seq))
    warehouse.load(store, full=True)
    assert warehouse.query("select sum(credits) from attempts") == [(5,)]


def test_a_root_that_is_gone_is_an_error(tmp_path: Path, warehouse: Warehouse) -> None:
    root = tmp_path / "root"
    write_batch(open_store(str(root)), "night", intent())
    warehouse.load(str(root))
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is gone"):
        warehouse.load(str(root))
