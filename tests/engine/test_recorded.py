"""Batches that the first edition left behind: read, resumed, amended and reported like any other.

They were recorded with its last commit, against the sandbox: one settled, with a snapshot instead of its
first segments; one that a budget stopped; and one that was killed with three creates open.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect_imagine.batches.index import read_index
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.batches.state import Phase
from prefect_imagine.reports.position import position_of
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store, open_store
from tests.books import manifest
from tests.engine.engine_runs import Row, Runs, rows_of
from tests.engine.surveyed import under_way

RECORDED = Path(__file__).parents[1] / "recorded"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    root = tmp_path / "root"
    shutil.copytree(RECORDED, root)
    with closing(open_store(str(root))) as found:
        yield found


@pytest.fixture
def runs(sandbox: RunningSandbox, store: Store) -> Runs:
    return Runs(sandbox, store)


def asked_for(store: Store, batch: str) -> list[Row]:
    lines = (store.read(f"{batch}/plan.jsonl") or b"").splitlines()
    requests = (json.loads(line)["request"] for line in lines)
    return [{"provider": each["provider"], "prompt": each["prompt"]} for each in requests]


def test_they_say_what_they_said(store: Store) -> None:
    settled, half, left_open = (
        position_of(store, batch).bill.counts for batch in ("settled", "half", "open")
    )
    assert (settled.total, settled.stored) == (18, 18)
    assert (half.total, half.stored, half.planned) == (5, 2, 3)
    assert (left_open.total, left_open.under_way) == (3, 3)
    bill = position_of(store, "settled").bill
    assert {name: int(amount) for name, amount in bill.committed.items()} == {
        "imaginelab": 70,
        "blockadelabs": 4,
    }
    assert under_way(store) == ["open"]


async def test_a_settled_one_is_left_alone_and_grows(runs: Runs) -> None:
    old = asked_for(runs.store, "settled")
    same = await runs.run(old, batch="settled")
    assert (same.summary.exit_code, same.summary.requests.create) == (0, 0)
    segments = read_journal(runs.store, "settled").seq
    grown = await runs.run([*old[1:], *rows_of("imaginelab", "new")], batch="settled")
    assert (grown.summary.items.stored, grown.summary.requests.create) == (19, 1)
    assert list(shard_numbers(runs.store, "settled")) == [1, 2]
    assert read_journal(runs.store, "settled").seq == segments
    assert [line["index"] for line in manifest(runs.store, "settled")] == list(range(1, 20))
    assert grown.usage.charged == 75


async def test_one_that_was_stopped_goes_on_and_is_amended(runs: Runs) -> None:
    rows = rows_of("imaginelab", "half 0", "half 1", "half 4", "half 9")
    ended = await runs.run(rows, batch="half")
    assert (ended.summary.items.stored, ended.summary.items.withdrawn) == (4, 2)
    assert runs.accepted("imaginelab") == {"half 4": 1, "half 9": 1}
    assert read_index(runs.store).active == {"open", "settled"}


async def test_creates_that_were_left_open_are_looked_for_first(runs: Runs) -> None:
    """Their provider never got them."""
    ended = await runs.run(None, batch="open")
    assert ended.summary.items.stored == 3
    assert ended.summary.requests.history > 0
    assert set(runs.accepted("imaginelab").values()) == {1}
    assert all(state.phase is Phase.STORED for state in read_journal(runs.store, "open").state.items.values())
