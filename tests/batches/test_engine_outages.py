"""A store that is full or gone for a while does nothing to a batch that a later moment cannot mend."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_imagine.batches.engine import run
from prefect_imagine.errors import StoreError
from prefect_imagine.sandbox import RateLimit, RunningSandbox
from prefect_imagine.sandbox.s3_server import S3Server, start_s3_server
from prefect_imagine.stores import open_store
from tests.batches.engine_runs import TIMING, Runs, hurried, numbered

pytestmark = pytest.mark.usefixtures("hurried")
__all__ = ["hurried"]


@pytest.fixture
def own_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that a test may stop without harm to others."""
    with start_s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_bucket_that_does_not_answer_for_a_while_is_waited_for(
    sandbox: RunningSandbox, own_s3: S3Server
) -> None:
    sandbox.configure(rate_limits={"blockadelabs": RateLimit(limit=20, window_seconds=4.0, headers=True)})
    runs = Runs(sandbox, open_store(f"s3://{own_s3.make_bucket()}/prefix"))
    async with runs.session(numbered("blockadelabs", 30)) as session:
        running = asyncio.create_task(run(session))
        lane = session.lanes["blockadelabs"]
        await lane.until(lambda: len(lane.order) >= 5, 30)
        os.kill(own_s3.pid, signal.SIGSTOP)
        await asyncio.sleep(2 * TIMING.deadline)  # intents that were waiting for it are too late by then
        os.kill(own_s3.pid, signal.SIGCONT)
        await running
        await session.close_books()
    runs.check()


async def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    sandbox: RunningSandbox, small_disk: Path
) -> None:
    runs = Runs(sandbox, open_store(str(small_disk)))
    rows = numbered("imagineapi", 12)
    with pytest.raises(StoreError, match="No space left"):
        await runs.run(rows, timing=TIMING.model_copy(update={"patience": 1.0}))
    assert sum(runs.accepted("imagineapi").values()) > 0
    await asyncio.to_thread(_make_room, small_disk)
    assert (await runs.run(rows)).summary.exit_code == 0
    runs.check()


def _make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
