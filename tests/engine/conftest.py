"""A root in a folder, and runs of batches over the sandbox under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store, open_store
from tests.engine.engine_runs import Runs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "root"))) as found:
        yield found


@pytest.fixture
def runs(sandbox: RunningSandbox, store: Store) -> Runs:
    return Runs(sandbox, store)
