"""The same in PostgreSQL: the charges, what is new, and the query that holds providers against batches."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.providers.registry import account_from_environment, open_client
from prefect_imagine.sandbox import FaultRule
from prefect_imagine.warehouse.load import Target, load
from prefect_imagine.warehouse.reconciliation import Difference, reconciliation_sql
from tests.engine.engine_runs import Runs, numbered
from tests.warehouse.loading import Warehouse
from tests.warehouse.postgres import missing, running_postgres

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is installed"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    # Sockets have short paths, and the server's user may not enter pytest's folders.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, running_postgres(Path(folder)) as address:
        yield address


def query(server: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("set search_path to art")
        cursor.execute(sql)
        return list(cursor.fetchall())


async def test_a_root_in_postgres(runs: Runs, server: str, warehouse: Warehouse) -> None:
    target = Target("postgres", dataset="art", credentials=SecretStr(server))
    providers = ("imaginelab", "aivisualstudio")
    accounts = {name: account_from_environment(name) for name in providers}
    runs.sandbox.faults.add(FaultRule("job_fails", "imaginelab", times=1))
    rows = [row for name in providers for row in numbered(name, 4)]
    rows[0] = {**rows[0], "labels": {"zero": "\0", "n\0": "x"}}
    await runs.run(rows, shard_size=3)
    first = await asyncio.to_thread(load, runs.store, target, accounts)
    assert (first.rows["generations"], first.differences) == (8, ())
    await runs.run([*rows, *numbered("imaginelab", 5)[4:]], shard_size=3, retry_failed=True)
    client = open_client(accounts["aivisualstudio"])
    stranger = await client.create(
        GenerationRequest(provider="aivisualstudio", prompt="not ours", model="prunaai/z-image-turbo")
    )
    await client.aclose()
    second = await asyncio.to_thread(load, runs.store, target, accounts)
    assert second.rows["generations"] == 2
    assert second.differences == (Difference("no batch knows it", "aivisualstudio", 1),)
    found = query(server, reconciliation_sql())
    assert [row[:3] for row in found] == [("no batch knows it", "aivisualstudio", stranger.id)]
    [(charged,)] = query(server, "select sum(charged) from generations")
    books = runs.sandbox.report(jobs=False)["charged"]
    theirs = {job["id"]: job["credits"] for job in runs.sandbox.report()["jobs"]}
    assert charged == books["imaginelab"] + books["aivisualstudio"] - theirs[stranger.id]
    # DuckDB has the same rows.
    await asyncio.to_thread(warehouse.load, runs.store)
    columns = 'batch_id, "index", status, job_id, attempts, charged, estimated, created_at, stored_at'
    assert set(query(server, f"select {columns} from generations")) == warehouse.table("generations", columns)
    third = await asyncio.to_thread(load, runs.store, target)
    assert third.rows == {}
