"""docs/warehouse.md, followed from its first command to its last."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.providers.registry import account_from_environment, open_client
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.warehouse.load import QUIET
from tests.engine.engine_runs import Runs, numbered
from tests.operations.page import Terminal, shell_blocks
from tests.warehouse.postgres import missing, running_postgres

pytestmark = pytest.mark.long
PAGE = Path(__file__).parents[2] / "docs/warehouse.md"
SERVER = "postgresql://loader:PASSWORD@db.example.com:5432/analytics"


@contextmanager
def _postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, running_postgres(Path(folder)) as address:
        yield address


async def test_the_page_can_be_followed(runs: Runs, aws: S3Server, tmp_path: Path) -> None:
    await runs.run([*numbered("aivisualstudio", 3), *numbered("imagineapi", 2)])
    client = open_client(account_from_environment("aivisualstudio"))
    stranger = await client.create(
        GenerationRequest(provider="aivisualstudio", prompt="not ours", model="prunaai/z-image-turbo")
    )
    await client.aclose()
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**runs.sandbox.environment, **aws.environment, **QUIET, "PATH": path}
    with nullcontext(SERVER) if missing() else _postgres() as server:
        values = {"s3://YOUR-BUCKET/art": runs.store.address, SERVER: server}
        blocks = shell_blocks(PAGE.read_text(), values)
        if missing():
            blocks = [block for block in blocks if "postgres" not in block]
        terminal = Terminal(folder, home, environment)
        printed = [await asyncio.to_thread(terminal.run, block) for block in blocks]
    assert "Loaded into duckdb imagine-warehouse.duckdb dataset imagine" in printed[0]
    assert "aivisualstudio" in printed[1]
    assert "no batch knows it" in printed[2]
    assert printed[3].strip() == f"no batch knows it aivisualstudio {stranger.id}"
    assert list((folder / "lake").rglob("generations/*.jsonl.gz"))
