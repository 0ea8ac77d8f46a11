"""A load that fails leaves nothing half done, and the next one goes on."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from dlt.common.exceptions import DltException, SignalReceivedException
from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError, StoreError, WarehouseError
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse.load import Target, load
from tests.chaos.command import REPOSITORY
from tests.engine.engine_runs import Runs, numbered
from tests.warehouse.loading import Warehouse, assert_books_agree

ROWS = [*numbered("imaginelab", 5), *numbered("aivisualstudio", 5)]


def altered(warehouse: Warehouse, statement: str) -> None:
    with duckdb.connect(str(warehouse.file)) as connection:
        connection.execute("use imagine")
        connection.execute(statement)


async def test_a_destination_that_breaks_half_way(runs: Runs, warehouse: Warehouse) -> None:
    await runs.run(ROWS[:4])
    await asyncio.to_thread(warehouse.load, runs.store)
    loaded = warehouse.everything()
    await runs.run(ROWS, retry_failed=True)
    altered(warehouse, "alter table attempts rename column outcome to outcame")
    with pytest.raises(WarehouseError, match=r"duckdb .*art\.duckdb dataset imagine: .*outcome"):
        await asyncio.to_thread(warehouse.load, runs.store)
    altered(warehouse, "alter table attempts drop column if exists outcome")
    altered(warehouse, "alter table attempts rename column outcame to outcome")
    again = await asyncio.to_thread(warehouse.load, runs.store)
    assert again.rows["attempts"] == len(ROWS) - 4
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    assert len(warehouse.everything()["attempts"]) == len(ROWS) > len(loaded["attempts"])


async def test_another_process_has_the_file(runs: Runs, warehouse: Warehouse) -> None:
    await runs.run(ROWS)
    code = f"import duckdb; held = duckdb.connect({str(warehouse.file)!r}); print(flush=True); input()"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE)
    assert holder.stdout is not None
    await holder.stdout.readline()
    with pytest.raises(WarehouseError, match="lock"):
        await asyncio.to_thread(warehouse.load, runs.store)
    await holder.communicate(b"\n")
    await asyncio.to_thread(warehouse.load, runs.store)
    assert_books_agree(warehouse, runs.store, runs.sandbox)


@pytest.mark.long
@pytest.mark.parametrize("written", [1, 2, 3])
async def test_a_load_that_is_killed(runs: Runs, warehouse: Warehouse, written: int) -> None:
    """In a process that dies after so many tables were written."""
    await runs.run(ROWS, shard_size=3)
    code = f"""
import os, signal
from dlt.load.load import Load
from prefect_imagine.warehouse.load import Target, load
done, complete = [], Load.complete_jobs
def dying(self, *words, **more):
    done.append(1)
    if len(done) > {written}:
        os.kill(os.getpid(), signal.SIGKILL)
    return complete(self, *words, **more)
Load.complete_jobs = dying
load({runs.store.address!r}, Target(database={str(warehouse.file)!r}))
"""
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=REPOSITORY)
    assert await killed.wait() == -signal.SIGKILL
    await asyncio.to_thread(warehouse.load, runs.store)
    assert_books_agree(warehouse, runs.store, runs.sandbox)
    assert len(warehouse.everything()["attempts"]) == len(ROWS)


def test_a_root_that_cannot_be_read(aws: object, warehouse: Warehouse) -> None:
    with pytest.raises(StoreError):
        warehouse.load("s3://there-is-no-such-bucket/art")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (("duckbd",), "duckbd"),
        (("postgres", "imagine", "x"), "a database is given for duckdb and filesystem alone"),
        (("duckdb", "imagine", "art/Imagine.duckdb"), "would be ambiguous in every query"),
        (("duckdb", "x", "art/x.duckdb"), "would be ambiguous in every query"),
        (("duckdb", " "), "the dataset needs a name"),
        (("postgres",), "postgres dataset imagine: .*credentials"),
    ],
)
def test_what_is_configured_wrongly(
    target: tuple[Any, ...], says: str, tmp_path: Path, warehouse: Warehouse
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load(str(tmp_path / "root"), Target(*target))


def test_a_server_that_does_not_answer_and_no_password(tmp_path: Path, warehouse: Warehouse) -> None:
    secret = "postgresql://loader:hunter2@127.0.0.1:9/none"
    with pytest.raises(WarehouseError) as caught:
        load(str(tmp_path / "root"), Target("postgres", credentials=SecretStr(secret)))
    assert "hunter2" not in str(caught.value)
    assert "Connection refused" in str(caught.value)


async def test_rows_of_a_filesystem_are_added(
    keys: RunningSandbox, tmp_path: Path, warehouse: Warehouse
) -> None:
    """There nothing is merged: the newest row of a key is the one that holds."""
    store: Store = open_store(str(tmp_path / "root"))
    runs = Runs(keys, store)
    await runs.run(ROWS, max_credits=20)
    target = Target("filesystem", database=(tmp_path / "lake").as_uri())
    await asyncio.to_thread(load, store, target)
    await runs.run(ROWS)
    await asyncio.to_thread(load, store, target)
    files = f"{tmp_path}/lake/imagine/generations/*.jsonl.gz"
    newest = (
        f"select * from read_json('{files}') "
        'qualify row_number() over (partition by batch_id, "index" order by _dlt_load_id desc) = 1'
    )
    charged = f"select sum(charged::decimal(38, 18)) from ({newest})"
    with duckdb.connect() as connection:
        [(total,)] = connection.execute(charged).fetchall()
    books = keys.report(jobs=False)["charged"]
    assert total == books["imaginelab"] + books["aivisualstudio"]


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), SignalReceivedException(signal.SIGINT)])
def test_a_load_that_is_interrupted_is_not_said_to_have_failed(
    cause: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise DltException("a step failed") from cause

    monkeypatch.setattr(dlt.Pipeline, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(str(tmp_path / "root"), Target(database=str(tmp_path / "x.duckdb")))
