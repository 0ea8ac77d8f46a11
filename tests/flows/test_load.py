"""`load_history` on a real server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State

from prefect_imagine.flows import load_history
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from prefect_imagine.warehouse.load import QUIET
from tests.engine.engine_runs import Runs, numbered
from tests.flows.prefect_api import artifacts_of, flow_run_of

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**QUIET, "DLT_DATA_DIR": str(tmp_path / "dlt")}.items():
        monkeypatch.setenv(name, value)


async def loaded(root: Path, **parameters: Any) -> State[Any]:
    state: State[Any] = await load_history(str(root), return_state=True, **parameters)
    return state


async def test_a_root_is_loaded(keys: RunningSandbox, tmp_path: Path, prefect_server: str) -> None:
    root, file = tmp_path / "root", tmp_path / "art.duckdb"
    await Runs(keys, open_store(str(root))).run(numbered("imaginelab", 3))
    state = await loaded(root, database=str(file), providers=["imaginelab"])
    assert state.is_completed()
    assert str(state.message).endswith(f"rows into duckdb {file} dataset imagine")
    found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
    assert {"table": "generations", "rows": 3} in found["imagine-loaded"]
    with duckdb.connect(str(file)) as connection:
        assert connection.execute("select sum(charged) from imagine.generations").fetchall() == [(15,)]
    again = await loaded(root, database=str(file))
    assert str(again.message).startswith("0 rows into")


async def test_the_way_in_may_be_a_secret_block(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    name = f"warehouse-{uuid4().hex[:8]}"
    await Secret(value="postgresql://loader:hunter2@127.0.0.1:9/none").asave(name)
    state = await loaded(tmp_path, destination="postgres", destination_secret=name)
    assert state.is_failed()
    assert "Connection refused" in str(state.message)
    assert "hunter2" not in str(state.message)
    missing = await loaded(tmp_path, destination="postgres", destination_secret="there-is-none")
    assert "there is no Secret block 'there-is-none'" in str(missing.message)


async def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("prefect_imagine.warehouse")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dlt", None)
    state = await loaded(tmp_path)
    assert state.is_failed()
    assert "pip install 'prefect-imagine[warehouse]'" in str(state.message)
