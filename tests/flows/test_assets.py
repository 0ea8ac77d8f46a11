"""Batches as assets, on a real server: which event says what was made, of what, and what it cost."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.events import emit_event

from prefect_imagine import BatchOptions, generate_batch
from prefect_imagine.flows import collect_batches
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import open_store
from tests.flows.prefect_api import events_about, flow_run_of

pytestmark = pytest.mark.long

ASSET = "prefect.asset."
SUCCEEDED = "prefect.asset.materialization.succeeded"
PROMPTS = [{"prompt": f"fox {number}"} for number in range(3)]


@pytest.fixture
def batch_id() -> str:
    return f"asset-{uuid4().hex[:8]}"


async def generated(prompts: Any, output: str, batch_id: str, **options: Any) -> State[Any]:
    chosen = BatchOptions(batch_id=batch_id, **options)
    state: State[Any] = await generate_batch(prompts, output, "imaginelab", options=chosen, return_state=True)
    return state


async def all_about(api_url: str, resource: str) -> list[dict[str, Any]]:
    """All events about an asset: those that have come before one that is sent last."""
    mark = f"{resource}/mark"
    emit_event(event=f"{ASSET}marked", resource={"prefect.resource.id": mark})
    await events_about(api_url, mark, 1, ASSET)
    return await events_about(api_url, resource, 1, ASSET)


def related(event: dict[str, Any]) -> dict[str, list[str]]:
    """Ids of related resources by role."""
    found: dict[str, list[str]] = {}
    for each in event["related"]:
        found.setdefault(each["prefect.resource.role"], []).append(each["prefect.resource.id"])
    return found


async def test_a_batch_in_a_bucket_is_an_asset_made_of_its_prompts(
    keys: RunningSandbox, aws: S3Server, prefect_server: str, batch_id: str
) -> None:
    root = f"s3://{aws.make_bucket()}/prefix"
    prompts, key = f"{root}/lists/foxes.txt", f"{root}/{batch_id}"
    open_store(root).put("lists/foxes.txt", b"a fox\nan owl\n", "text/plain")
    state = await generated(prompts, root, batch_id)
    assert state.is_completed(), state.message
    (told,) = await events_about(prefect_server, key, 1, ASSET)
    assert told["event"] == SUCCEEDED
    assert told["resource"]["prefect.resource.name"] == batch_id
    roles = related(told)
    assert roles["asset"] == [prompts]
    assert roles["asset-materialized-by"] == ["prefect-imagine"]
    assert roles["flow-run"] == [f"prefect.flow-run.{(await flow_run_of(state)).id}"]
    charged = keys.report(jobs=False)["charged"]["imaginelab"]
    assert told["payload"] == {
        "items": 2,
        "stored": 2,
        "failed": 0,
        "unknown": 0,
        "charged": charged,
        "estimated": 0,
        "possible": 0,
        "report": f"{key}/report.html",
    }
    (referenced,) = await events_about(prefect_server, prompts, 1, ASSET)
    assert referenced["event"] == "prefect.asset.referenced"


async def test_prompts_whose_address_can_be_no_key_are_left_out(
    keys: RunningSandbox, aws: S3Server, prefect_server: str, batch_id: str
) -> None:
    root = f"s3://{aws.make_bucket()}"
    open_store(root).put("my foxes.txt", b"a fox\n", "text/plain")
    assert (await generated(f"{root}/my foxes.txt", root, batch_id)).is_completed()
    (told,) = await events_about(prefect_server, f"{root}/{batch_id}", 1, ASSET)
    assert told["event"] == SUCCEEDED
    assert "asset" not in related(told)


async def test_only_a_run_that_did_something_materializes_it(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str, batch_id: str
) -> None:
    key = f"file://{tmp_path}/{batch_id}"
    assert (await generated(PROMPTS, str(tmp_path), batch_id)).is_completed()
    assert (await generated(PROMPTS, str(tmp_path), batch_id)).is_completed()
    assert (await generated([*PROMPTS, {"prompt": "an owl"}], str(tmp_path), batch_id)).is_completed()
    told = await all_about(prefect_server, key)
    assert [each["payload"]["stored"] for each in told] == [3, 4]


async def test_more_failures_than_allowed_are_a_failed_materialization(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str, batch_id: str
) -> None:
    keys.faults.add(FaultRule("job_fails", provider="imaginelab", times=1))
    assert (await generated(PROMPTS, str(tmp_path), batch_id)).is_failed()
    (told,) = await all_about(prefect_server, f"file://{tmp_path}/{batch_id}")
    assert told["event"] == "prefect.asset.materialization.failed"
    assert (told["payload"]["stored"], told["payload"]["failed"]) == (2, 1)


async def test_of_a_batch_that_was_let_go_whoever_collects_it_tells(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str, batch_id: str
) -> None:
    keys.configure(latency={"image": (600.0, 600.0)})
    assert (await generated(PROMPTS, str(tmp_path), batch_id, detach=True)).name == "Submitted"
    keys.advance(700)
    state: State[Any] = await collect_batches(str(tmp_path), return_state=True)
    assert state.is_completed(), state.message
    (told,) = await all_about(prefect_server, f"file://{tmp_path}/{batch_id}")
    assert (told["event"], told["payload"]["stored"]) == (SUCCEEDED, 3)
    assert related(told)["flow-run"] == [f"prefect.flow-run.{(await flow_run_of(state)).id}"]


async def test_an_address_that_can_be_no_key_harms_no_batch(
    keys: RunningSandbox,
    tmp_path: Path,
    prefect_server: str,
    batch_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "my outputs"
    with caplog.at_level(logging.WARNING):
        state = await generated(PROMPTS, str(folder), batch_id)
    assert state.is_completed()
    assert f"batch {batch_id} is no asset: Prefect takes no key like file:///" in caplog.text
