"""A store that is full or gone, or a provider that accepts nothing: a later moment mends it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from prefect_imagine.batches.options import Timing
from prefect_imagine.batches.state import Phase
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import StoreError
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server, start_s3_server
from prefect_imagine.stores import MediaSource, StoredOutput, open_store
from prefect_imagine.stores.folder import FolderStore
from tests.engine.engine_runs import TIMING, Runs, numbered, rows_of

BRIEF = Timing(deadline=0.5, create=0.8, settle=0.2)


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    return Runs(sandbox, open_store(str(tmp_path / "root")))


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


@pytest.mark.long
async def test_a_bucket_that_does_not_answer_for_a_while_is_waited_for(
    sandbox: RunningSandbox, own_s3: S3Server
) -> None:
    sandbox.configure(rate_limits={"blockadelabs": RateLimit(limit=20, window_seconds=4.0, headers=True)})
    runs = Runs(sandbox, open_store(f"s3://{own_s3.make_bucket()}/prefix"))
    async with runs.session(numbered("blockadelabs", 30)) as session:
        running = asyncio.create_task(run_session(session))
        run = session.runs["blockadelabs"]
        await run.wake_up.wait_for(lambda: len(run.jobs.order) >= 5, 30)
        os.kill(own_s3.pid, signal.SIGSTOP)
        await asyncio.sleep(2 * TIMING.deadline)  # intents that were waiting for it are too late by then
        os.kill(own_s3.pid, signal.SIGCONT)
        await running
        await session.close_books()
    runs.check()


@pytest.mark.long
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


async def test_creates_that_are_never_accepted_end_the_run_while_reads_pass(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("error_before", "imaginelab", "create"))
    rows = numbered("imaginelab", 2)
    async with asyncio.timeout(60):
        ended = await runs.run(rows, timing=BRIEF.model_copy(update={"patience": 2.0}))
    assert (ended.summary.exit_code, ended.summary.items.stored) == (5, 0)
    assert "no create has been accepted" in (ended.summary.error or "")
    assert ended.summary.requests.create < 60
    runs.sandbox.faults.clear()
    assert (await runs.run(rows)).summary.exit_code == 0
    runs.check()


async def test_where_creates_fail_one_after_the_other_not_all_are_sent(runs: Runs) -> None:
    """Each that fails leaves open whether it was accepted."""
    runs.sandbox.faults.add(FaultRule("error_before", "imaginelab", "create"))
    rows = numbered("imaginelab", 60)
    async with asyncio.timeout(60):
        ended = await runs.run(rows, timing=BRIEF.model_copy(update={"patience": 2.0}))
    assert ended.summary.exit_code == 5
    assert ended.summary.requests.create < 40
    runs.sandbox.faults.clear()
    assert (await runs.run(rows)).summary.exit_code == 0
    runs.check()


async def test_a_queue_that_others_have_filled_is_not_asked_again_and_again(runs: Runs) -> None:
    runs.sandbox.configure(
        pending_caps={"aivisualstudio": 2},
        latency={"image": (3.0, 3.0)},
        rate_limits={"aivisualstudio": RateLimit(limit=1000, window_seconds=10.0, headers=True)},
    )
    async with runs.session(numbered("aivisualstudio", 2), batch="others") as others:
        theirs = asyncio.create_task(run_session(others))
        jobs = others.runs["aivisualstudio"].jobs
        await others.runs["aivisualstudio"].wake_up.wait_for(lambda: len(jobs.order) == 2, 30)
        ended = await runs.run(rows_of("aivisualstudio", "ours"))
        await theirs
        await others.close_books()
    assert ended.summary.exit_code == 0
    assert ended.summary.requests.create < 30
    runs.check()


@pytest.mark.parametrize("fault", ["error_before", "cut_after"])
async def test_a_batch_whose_first_creates_are_all_lost_is_stored(runs: Runs, fault: str) -> None:
    rows = [*rows_of("imaginelab", "fox", "fox", "fox"), *rows_of("imaginelab", "hen", "hen")]
    runs.sandbox.faults.add(FaultRule(fault, "imaginelab", "create", times=len(rows)))
    async with asyncio.timeout(120):
        ended = await runs.run(rows, timing=BRIEF)
    assert ended.summary.exit_code == 0, ended.summary
    runs.check()


async def test_an_item_whose_creates_are_always_lost_is_given_up_where_others_pass(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("error_before", "imaginelab", "create", match="poison"))
    rows = [*rows_of("imaginelab", "poison"), *numbered("imaginelab", 4)]
    async with asyncio.timeout(60):
        ended = await runs.run(rows, timing=BRIEF)
    assert (ended.summary.items.stored, ended.summary.items.failed) == (4, 1)
    states = ended.session.shards.of(1).state.items.values()
    [failed] = [state for state in states if state.phase is Phase.FAILED]
    assert (failed.reason, failed.charges) == ("not_accepted", ())
    runs.sandbox.faults.clear()
    assert (await runs.run(rows, retry_failed=True)).summary.exit_code == 0
    runs.check()


class OddStore(FolderStore):
    """Fails on one output in a way that nobody foresaw."""

    def put_output(self, stem: str, source: MediaSource, metadata: Mapping[str, str]) -> StoredOutput:
        if stem.rpartition("/")[2].startswith("00002"):
            raise RuntimeError("odd")
        return super().put_output(stem, source, metadata)


async def test_what_nobody_foresaw_of_one_output_keeps_no_other_from_being_stored(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    rows = numbered("imaginelab", 4)
    odd = Runs(sandbox, OddStore(tmp_path / "root"))
    ended = await odd.run(rows)
    assert (ended.summary.items.stored, ended.summary.exit_code) == (3, 1)
    assert ended.session.shards.state(2).reason == "output_unexpected"
    runs = Runs(sandbox, open_store(str(tmp_path / "root")))
    assert (await runs.run(rows)).summary.exit_code == 0
    runs.check()


async def test_a_key_that_is_revoked_after_creating_has_stopped_ends_the_run(runs: Runs) -> None:
    """It was followed without end: the first reason to stop was kept whatever came."""
    runs.sandbox.configure(latency={"image": (3.0, 3.0)})
    rows = numbered("aivisualstudio", 3)
    async with runs.session(rows, max_credits=10) as session:
        running = asyncio.create_task(run_session(session))
        run = session.runs["aivisualstudio"]
        await run.wake_up.wait_for(lambda: run.stop is not None and len(run.queues.running) == 2, 30)
        runs.sandbox.faults.add(FaultRule("expired_token"))
        async with asyncio.timeout(60):
            await running
        summary, _ = await session.close_books()
    assert summary.exit_code == 5
    runs.sandbox.faults.clear()
    assert (await runs.run(rows, max_credits=100)).summary.exit_code == 0
    runs.check()
