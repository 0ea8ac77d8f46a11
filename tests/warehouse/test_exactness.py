"""What a warehouse holds is what the books say, to the credit, whatever has happened to batches and loads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.index import read_index
from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.providers.models import Estimate, GenerationRequest
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse.load import Loaded
from tests.batches.journals import AT
from tests.chaos.command import REPOSITORY, write_prompts
from tests.engine.engine_runs import Runs, numbered, rows_of
from tests.engine.waiting import until
from tests.warehouse.loading import Warehouse, assert_books_agree

PROVIDERS = ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio")
ALL = [row for provider in PROVIDERS for row in numbered(provider, 4)]


def rows_loaded(loaded: Loaded) -> int:
    return sum(loaded.rows.values())


async def test_faults_of_every_kind(runs: Runs, warehouse: Warehouse) -> None:
    faults = runs.sandbox.faults
    for provider in PROVIDERS:
        faults.add(FaultRule("cut_after", provider, "create", times=1, skip=1))
        faults.add(FaultRule("cut_before", provider, "create", times=1, skip=2))
        faults.add(FaultRule("job_fails", provider, "create", match=f"{provider} picture 3"))
    ended = await runs.run([*ALL, *rows_of("aivisualstudio", "forbidden-content")], shard_size=6)
    assert ended.summary.items.failed >= 5
    await asyncio.to_thread(warehouse.load, runs.store)
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    outcomes = {name for (name,) in warehouse.query("select distinct outcome from attempts")}
    assert {"succeeded", "failed", "refused"} <= outcomes
    assert warehouse.query("select count(*) from attempts where outcome = 'absent'") != [(0,)]
    [(failed, refunded)] = warehouse.query(
        "select count(*), sum(credits) from attempts where provider = 'imaginelab' and outcome = 'failed'"
    )
    assert (failed, refunded) == (1, 0)


async def test_what_failed_and_is_made_again(runs: Runs, warehouse: Warehouse) -> None:
    runs.sandbox.configure(refund_failed=False)
    runs.sandbox.faults.add(FaultRule("job_fails", times=3))
    await runs.run(ALL, shard_size=5)
    await asyncio.to_thread(warehouse.load, runs.store)
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    await runs.run(retry_failed=True)
    second = await asyncio.to_thread(warehouse.load, runs.store)
    assert second.rows["generations"] == 3
    assert second.rows["attempts"] == 6
    assert_books_agree(warehouse, runs.store, runs.sandbox)


async def test_a_root_that_grows_is_loaded_row_by_row(runs: Runs, warehouse: Warehouse) -> None:
    rows = numbered("imaginelab", 12)
    await runs.run(rows, max_credits=40, shard_size=4)
    first = await asyncio.to_thread(warehouse.load, runs.store)
    assert first.rows["generations"] == 12
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    await runs.run(rows[:10], shard_size=4)  # two are withdrawn, two made
    second = await asyncio.to_thread(warehouse.load, runs.store)
    assert (second.rows["generations"], second.rows["attempts"]) == (4, 2)
    assert dict(warehouse.query("select status, count(*) from generations group by status")) == {
        "stored": 10,
        "withdrawn": 2,
    }
    assert read_index(runs.store).active == frozenset()
    await runs.run([*rows[:10], *numbered("aivisualstudio", 2)], shard_size=4)
    third = await asyncio.to_thread(warehouse.load, runs.store)
    assert third.rows["generations"] == 2
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    await runs.run(rows[:3], batch="another")
    fourth = await asyncio.to_thread(warehouse.load, runs.store)
    assert fourth.rows["generations"] == 3
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    assert rows_loaded(await asyncio.to_thread(warehouse.load, runs.store)) == 0


async def test_a_batch_that_is_being_run(runs: Runs, warehouse: Warehouse) -> None:
    runs.sandbox.configure(latency={"image": (0.4, 0.4)})
    async with runs.session(ALL, shard_size=4) as session:
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: len(runs.sandbox.report()["jobs"]) >= 8)
        await asyncio.to_thread(warehouse.load, runs.store)
        [(accepted,)] = warehouse.query("select count(job_id) from attempts")
        assert accepted >= 1
        await running
        await session.close_books()
    await asyncio.to_thread(warehouse.load, runs.store)
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    assert warehouse.query("select settled, stored from batches") == [(True, len(ALL))]


@pytest.mark.long
@pytest.mark.parametrize("place", ["after_post:3", "after_intent:2", "before_stored:2", "mid_manifest:1"])
def test_a_run_that_is_killed(
    place: str, keys: RunningSandbox, store: Store, warehouse: Warehouse, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "prompts.csv", 4)

    def run(failpoint: str) -> int:
        command = [
            sys.executable,
            "-m",
            "tests.chaos.plain",
            str(prompts.path),
            store.address,
            "batch",
            "--force",
        ]
        environment = {**os.environ, "PREFECT_IMAGINE_FAILPOINT": failpoint}
        return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode

    assert run(place) == -signal.SIGKILL
    warehouse.load(store)
    [(loaded,)] = warehouse.query("select count(*) from generations")
    assert loaded == prompts.total
    assert run("") == 0
    warehouse.load(store)
    assert_books_agree(warehouse, store, keys)
    assert warehouse.query(
        "select outcome, count(job_id) from attempts where job_id is not null group by 1"
    ) == [("succeeded", prompts.total)]


async def test_a_reload_makes_the_same_rows(runs: Runs, tmp_path: Path, warehouse: Warehouse) -> None:
    """Into the same dataset, and into one where nothing is."""
    runs.sandbox.faults.add(FaultRule("job_fails", times=2))
    await runs.run(ALL, shard_size=5)
    await asyncio.to_thread(warehouse.load, runs.store)
    await runs.run([*ALL, *rows_of("imagineapi", "one more")], shard_size=5, retry_failed=True)
    await asyncio.to_thread(warehouse.load, runs.store)
    loaded = warehouse.everything()
    again = await asyncio.to_thread(lambda: warehouse.load(runs.store, full=True))
    assert again.rows["generations"] == len(ALL) + 1
    assert warehouse.everything() == loaded
    fresh = Warehouse(tmp_path / "fresh.duckdb")
    await asyncio.to_thread(fresh.load, runs.store)
    assert fresh.everything() == loaded


async def test_credits_are_decimals(runs: Runs, warehouse: Warehouse) -> None:
    """A tenth three times over is three tenths."""
    prices = {"imagineapi": {"default": 0.1}, "blockadelabs": {"default": 1e-9}}
    await runs.run([*numbered("imagineapi", 3), *numbered("blockadelabs", 1)], prices=prices)
    await asyncio.to_thread(warehouse.load, runs.store)
    assert warehouse.amounts()["estimated"] == Decimal("0.300000001")
    assert_books_agree(warehouse, runs.store, runs.sandbox)


ODD = (
    'it\'s "quoted" \\ back \n line \t tab',
    "2026-11-28",
    "00123",
    "{}",
    "null",
    "NaN",
    "日本語 🦊",
    "x" * 300_000,
)


def test_texts_stay_as_they_are(tmp_path: Path, warehouse: Warehouse) -> None:
    """Whatever a database may take them for, and however long they are."""
    store = open_store(str(tmp_path / "root"))
    settings: list[dict[str, Any]] = [{}, {"strength": 0.1, "empty": {}, "list": [1, "2"]}]
    items = tuple(
        BatchItem(
            index=index,
            item_id=f"item-{index}",
            asked="-",
            request=GenerationRequest(
                provider="imaginelab", prompt=prompt, settings=settings[index % 2], labels={"a b": prompt[:9]}
            ),
            estimate=Estimate(credits=0.1, source="catalog"),
        )
        for index, prompt in enumerate(ODD, 1)
    )
    write_plan(store, Plan("odd", AT, items))
    warehouse.load(store)
    rows = warehouse.query('select prompt, settings, labels, price from generations order by "index"')
    for item, (prompt, shaped, labels, price) in zip(items, rows, strict=True):
        request = item.request
        assert (prompt, json.loads(shaped), json.loads(labels)) == (
            request.prompt,
            request.settings,
            request.labels,
        )
        assert price == Decimal("0.1")
