"""Runs that let their jobs go, on a real server: how they end, and who says how the batch has ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.flows import collect_batches
from prefect_imagine.flows.wake import BUCKET_SECONDS, CollectSoon
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.stores import open_store
from prefect_imagine.tasks.events import JOB_ENDED
from prefect_imagine.webhooks import Ended
from tests.flows.prefect_api import artifacts_of, events_about, flow_run_of, runs_of_deployment

pytestmark = pytest.mark.long

FOXES = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(4)]


@pytest.fixture
def slow(keys: RunningSandbox) -> RunningSandbox:
    """Jobs that take ten minutes of the sandbox's clock."""
    keys.configure(latency={"image": (600.0, 600.0)})
    return keys


async def let_go(folder: Path, batch_id: str, **options: Any) -> State[Any]:
    chosen = BatchOptions(batch_id=batch_id, detach=True, **options)
    state: State[Any] = await generate_batch(FOXES, str(folder), options=chosen, return_state=True)
    return state


async def collected(folder: Path) -> State[Any]:
    state: State[Any] = await collect_batches(str(folder), return_state=True)
    return state


async def test_the_collecting_run_says_how_a_batch_has_ended(
    slow: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    batch_id = f"films-{uuid4().hex[:8]}"
    submitted = await let_go(tmp_path, batch_id)
    assert (submitted.is_completed(), submitted.name) == (True, "Submitted")
    assert submitted.message is not None
    assert submitted.message.startswith("4 of 4 under way, 0 stored")
    found = await artifacts_of(prefect_server, (await flow_run_of(submitted)).id)
    assert "imagine-report" not in found
    early = await collected(tmp_path)
    assert early.is_completed()
    slow.advance(700)
    state = await collected(tmp_path)
    assert state.is_completed(), state.message
    found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
    assert {"imagine-report", "imagine-usage", "imagine-reconciled"} <= set(found)
    told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 2)
    assert [event["event"] for event in told] == ["imagine.batch.started", "imagine.batch.finished"]
    assert told[-1]["payload"]["items"]["stored"] == 4
    assert (tmp_path / batch_id / "report.html").exists()
    assert (await collected(tmp_path)).message == "0 unsettled batches"


async def test_more_failures_than_allowed_fail_the_collecting_run(
    slow: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    slow.faults.add(FaultRule("job_fails", provider="imaginelab", times=2))
    batch_id = f"failing-{uuid4().hex[:8]}"
    assert (await let_go(tmp_path, batch_id, allowed_failures=1)).name == "Submitted"
    slow.advance(700)
    state = await collected(tmp_path)
    assert state.is_failed()
    assert batch_id in (state.message or "")
    told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 4)
    assert [event["event"] for event in told].count("imagine.generation.failed") == 2


async def test_ends_of_one_span_wake_one_collect_at_its_end(
    slow: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    flow, deployment = "collect", f"wake-{uuid4().hex[:8]}"
    deployed = await collect_batches.ato_deployment(deployment, parameters={"output": str(tmp_path)})
    await deployed.aapply()
    batch_id = f"woken-{uuid4().hex[:8]}"
    await let_go(tmp_path, batch_id)
    store = open_store(str(tmp_path))
    begin = datetime.now(UTC).timestamp() // BUCKET_SECONDS * BUCKET_SECONDS
    moments = [begin + offset for offset in (0.0, 7.0, BUCKET_SECONDS - 0.001, BUCKET_SECONDS)]
    # Each from a receiver of its own: what they have in common is the server.
    for number, moment in enumerate(moments):
        wake = CollectSoon(store, f"{flow}/{deployment}", now=partial(datetime.fromtimestamp, moment, UTC))
        await wake(Ended("imaginelab", batch_id, f"job-{number}", believed=True))
    async with get_client() as client:
        found = await client.read_deployment_by_name(f"{flow}/{deployment}")
        runs = await runs_of_deployment(found.id)
        await client.delete_deployment(found.id)
    due = sorted(run.expected_start_time.timestamp() for run in runs if run.expected_start_time)
    assert due == pytest.approx([begin + BUCKET_SECONDS, begin + 2 * BUCKET_SECONDS], abs=1)
    told = await events_about(prefect_server, f"imagine.batch.{batch_id}", 1 + len(moments))
    ended = [event["payload"]["job"] for event in told if event["event"] == JOB_ENDED]
    assert sorted(ended) == [f"job-{number}" for number in range(4)]


async def test_a_server_that_is_away_harms_no_delivery(
    slow: RunningSandbox, tmp_path: Path, prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    wake = CollectSoon(open_store(str(tmp_path)), "collect/there-is-none")
    await asyncio.gather(*(wake(Ended("imaginelab", "b", str(job), believed=False)) for job in range(3)))
    assert sum("no run of collect" in record.getMessage() for record in caplog.records) <= 1
