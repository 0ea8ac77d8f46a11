"""A root in a folder, and runs of batches over the sandbox under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import Runs


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def runs(sandbox: RunningSandbox, store_folder: Path) -> Iterator[Runs]:
    with closing(open_store(str(store_folder))) as store:
        yield Runs(sandbox, store)
