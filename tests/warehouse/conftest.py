"""A root in a bucket, runs of batches over the sandbox under it, and a DuckDB file to load into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse.load import QUIET
from tests.engine.engine_runs import Runs
from tests.warehouse.loading import Warehouse


@pytest.fixture
def store(aws: S3Server) -> Iterator[Store]:
    with closing(open_store(f"s3://{aws.make_bucket()}/art")) as found:
        yield found


@pytest.fixture
def runs(keys: RunningSandbox, store: Store) -> Runs:
    return Runs(keys, store)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))  # nobody's own settings
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    return Warehouse(tmp_path / "art.duckdb")
