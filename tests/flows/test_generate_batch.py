"""The flow on a real Prefect server: every provider, into a folder and into S3, and what the UI shows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.client.schemas.sorting import TaskRunSort

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import open_store
from tests.books import assert_bill_is_exact, assert_paid_once, assert_stored_exactly, manifest

QUICK = ("aivisualstudio",)
SLOW = ("imaginelab", "blockadelabs", "imagineapi")
"""Forty pictures take them minutes, since they tell nothing of their rate limits."""
PROVIDERS = (*QUICK, *SLOW)
PRICES = {"blockadelabs": PriceList(default=1), "imagineapi": PriceList(default=1)}
OTHER_KINDS = {
    "imaginelab": ("video", "voice", "music", "infographic", "text"),
    "aivisualstudio": ("video",),
}

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def bucket(aws: S3Server) -> str:
    return aws.make_bucket()


async def _run(prompts: list[Prompt] | str | None, output: str, **options: object) -> State[object]:
    chosen = BatchOptions.model_validate({"batch_id": "batch", "prices": PRICES, **options})
    state: State[Any] = await generate_batch(prompts, output, options=chosen, return_state=True)
    return state


async def _task_runs(flow_run_id: UUID, count: int) -> list[TaskRun]:
    """A flow run's task runs, once the server has recorded the end of so many."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    deadline = time.monotonic() + 180
    async with get_client() as client:
        while True:
            runs = await client.read_task_runs(flow_run_filter=only, sort=TaskRunSort.NAME_ASC, limit=200)
            if sum(run.state is not None and run.state.is_final() for run in runs) >= count:
                return runs
            assert time.monotonic() < deadline, [(run.name, run.state_name) for run in runs]
            await asyncio.sleep(0.1)


async def _flow_run(state: State[object]) -> FlowRun:
    assert state.state_details.flow_run_id is not None
    async with get_client() as client:
        return await client.read_flow_run(state.state_details.flow_run_id)


@pytest.mark.parametrize("where", ["folder", pytest.param("s3", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "provider",
    [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in SLOW)],
)
async def test_forty_prompts_are_stored_and_billed_exactly(
    provider: str, where: str, keys: RunningSandbox, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    output = f"s3://{request.getfixturevalue('bucket')}/some/prefix" if where == "s3" else str(tmp_path)
    keys.configure(rate_limits={"aivisualstudio": {"limit": 60, "window_seconds": 5.0, "headers": True}})
    prompts = [Prompt(prompt=f"a red fox, number {number}", provider=provider) for number in range(40)]
    others = [
        Prompt(prompt=f"a {kind} of rain", provider=provider, kind=kind)
        for kind in OTHER_KINDS.get(provider, ())
    ]
    state = await _run([*prompts, *others], output)
    assert state.is_completed(), state
    store = open_store(output)
    assert [line["status"] for line in manifest(store, "batch")] == ["stored"] * (40 + len(others))
    assert_stored_exactly(store, "batch", keys)
    assert_paid_once(keys, Counter((provider, prompt.prompt) for prompt in [*prompts, *others]))
    assert_bill_is_exact(store, "batch", keys)
    assert keys.report(jobs=False)["credential_leaks"] == 0
    store.close()


async def test_one_batch_id_under_two_roots_is_two_batches(keys: RunningSandbox, tmp_path: Path) -> None:
    keys.configure(rate_limits={"imaginelab": {"limit": 60, "window_seconds": 5.0, "headers": True}})
    prompts = [Prompt(prompt=f"a heron, number {number}", provider="imaginelab") for number in range(30)]
    roots = [str(tmp_path / name) for name in ("one", "other")]
    states = await asyncio.gather(*(_run(prompts, root) for root in roots))
    assert all(state.is_completed() for state in states), states
    assert_paid_once(keys, Counter(("imaginelab", prompt.prompt) for prompt in [*prompts, *prompts]))
    for root in roots:
        assert [line["status"] for line in manifest(open_store(root), "batch")] == ["stored"] * 30


async def test_a_failed_item_fails_none_of_its_neighbours(keys: RunningSandbox, tmp_path: Path) -> None:
    prompts = [
        Prompt(prompt="good", provider="imaginelab"),
        Prompt(prompt="forbidden-content", provider="imaginelab"),
        Prompt(prompt="fail-job please", provider="aivisualstudio"),
        Prompt(prompt="also good", provider="aivisualstudio"),
    ]
    state = await _run(prompts, str(tmp_path))
    assert state.is_failed()
    assert state.message == "2 of 4 stored, 2 failed"
    lines = manifest(open_store(str(tmp_path)), "batch")
    assert [line["status"] for line in lines] == ["stored", "failed", "failed", "stored"]
    assert [line["reason"] for line in lines] == [None, "moderation", "provider_failed", None]


async def test_allowed_failures_leave_the_run_completed(keys: RunningSandbox, tmp_path: Path) -> None:
    prompts = [Prompt(prompt=text, provider="imaginelab") for text in ("good", "forbidden-content")]
    state = await _run(prompts, str(tmp_path), allowed_failures=1)
    assert state.is_completed()
    assert state.message == "1 of 2 stored, 1 failed"


async def test_task_runs_can_be_read_by_people(keys: RunningSandbox, tmp_path: Path) -> None:
    prompts = [
        Prompt(prompt="A lighthouse keeper who collects maps of imaginary islands", provider="imaginelab"),
        Prompt(prompt="forbidden-content", provider="imaginelab"),
    ]
    state = await _run(prompts, str(tmp_path))
    flow_run = await _flow_run(state)
    assert flow_run.name == "generate batch"
    runs = {run.name: run for run in await _task_runs(flow_run.id, 4)}
    assert set(runs) == {
        "create imaginelab 1 A lighthouse keeper who collects maps o…",
        "create imaginelab 2 forbidden-content",
        "poll imaginelab",
        "store imaginelab 1 A lighthouse keeper who collects maps o…",
    }
    assert runs["create imaginelab 2 forbidden-content"].state_name == "Partial"
    assert all(run.empirical_policy.retries in (0, None) for run in runs.values())


async def test_the_bill_and_the_report_are_artifacts(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    state = await _run([Prompt(prompt="an artifact", provider="imaginelab")], str(tmp_path))
    run = str((await _flow_run(state)).id)
    async with httpx.AsyncClient(base_url=prefect_server, timeout=60) as http:
        only = {"flow_runs": {"id": {"any_": [run]}}}
        artifacts = {each["key"]: each for each in (await http.post("/artifacts/filter", json=only)).json()}
    assert set(artifacts) >= {"imagine-usage", "imagine-failures", "imagine-progress", "imagine-report"}
    assert '"charged": 5' in str(artifacts["imagine-usage"]["data"])


async def test_no_secret_reaches_prefect(
    keys: RunningSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="prefect_imagine")
    caplog.set_level(logging.INFO, logger="httpx")
    prompts = [Prompt(prompt="a secret garden", provider=provider) for provider in PROVIDERS]
    state = await _run(prompts, str(tmp_path))
    flow_run = await _flow_run(state)
    runs = await _task_runs(flow_run.id, 12)
    names = ("IMAGINELAB_PASSWORD", "BLOCKADELABS_API_KEY", "IMAGINEAPI_TOKEN", "AIVISUALSTUDIO_API_KEY")
    stored = [path.read_text(errors="replace") for path in (tmp_path / "batch").rglob("*.json*")]
    shown = "\n".join(
        [flow_run.model_dump_json(), *(run.model_dump_json() for run in runs), caplog.text, *stored]
    )
    assert "a secret garden" in shown
    assert not [name for name in names if keys.environment[name] in shown.replace(str(tmp_path), "")]


async def test_identical_prompts_are_different_items(keys: RunningSandbox, tmp_path: Path) -> None:
    state = await _run([Prompt(prompt="the same", provider="imaginelab", count=3)], str(tmp_path))
    assert state.is_completed()
    assert_paid_once(keys, Counter({("imaginelab", "the same"): 3}))
    assert len(list((tmp_path / "batch" / "outputs").iterdir())) == 3


async def test_running_a_finished_batch_again_asks_nobody(keys: RunningSandbox, tmp_path: Path) -> None:
    prompts = [Prompt(prompt="once", provider="imaginelab")]
    await _run(prompts, str(tmp_path))
    before = keys.report(jobs=False)["requests"]
    state = await _run(prompts, str(tmp_path))
    assert state.is_completed()
    assert keys.report(jobs=False)["requests"] == before


async def test_a_batch_without_prompts_is_resumed_from_its_plan(keys: RunningSandbox, tmp_path: Path) -> None:
    keys.faults.add(FaultRule("html", on="media", match=None))
    prompts = [Prompt(prompt="to be resumed", provider="imaginelab")]
    assert (await _run(prompts, str(tmp_path))).is_failed()
    keys.faults.clear()
    assert (await _run(None, str(tmp_path))).is_completed()
    assert_paid_once(keys, Counter({("imaginelab", "to be resumed"): 1}))


async def test_other_prompts_under_the_same_batch_id_amend_it(keys: RunningSandbox, tmp_path: Path) -> None:
    first, second = (Prompt(prompt=prompt, provider="imaginelab") for prompt in ("first", "second"))
    await _run([first], str(tmp_path))
    state = await _run([second, first], str(tmp_path))
    assert state.is_completed()
    assert state.message == "2 of 2 stored"
    assert_paid_once(keys, Counter({("imaginelab", "first"): 1, ("imaginelab", "second"): 1}))
    frozen = await _run([second], str(tmp_path), frozen=True)
    assert frozen.is_failed()
    assert "exists with other prompts (2 items)" in (frozen.message or "")


async def test_wrong_prompts_are_all_told_and_nothing_is_spent(keys: RunningSandbox, tmp_path: Path) -> None:
    prompts = [
        Prompt(prompt=" ", provider="imaginelab"),
        Prompt(prompt="fine", provider="imaginlab"),
        Prompt(prompt="fine", provider="aivisualstudio", aspect_ratio="5:4"),
    ]
    state = await _run(prompts, str(tmp_path))
    assert state.is_failed()
    assert "row 1, column 'prompt': is empty" in (state.message or "")
    assert "did you mean imaginelab" in (state.message or "")
    assert not keys.report(sums=False)["jobs"]


async def test_prompts_may_come_from_a_file_with_defaults(keys: RunningSandbox, tmp_path: Path) -> None:
    source = tmp_path / "prompts.csv"
    source.write_text("prompt,animal\nA {animal} on {date},heron\nTwo {{braces}},x\n", encoding="utf-8")
    chosen = BatchOptions(batch_id="batch")
    state = await generate_batch(
        str(source), str(tmp_path), provider="imaginelab", options=chosen, return_state=True
    )
    assert state.is_completed()
    prompts = [line["request"]["prompt"] for line in manifest(open_store(str(tmp_path)), "batch")]
    assert prompts[0].startswith("A heron on 20")
    assert prompts[1] == "Two {braces}"


async def test_a_reached_budget_is_an_event_and_names_the_reason(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    prompts = [Prompt(prompt="dear", provider="imaginelab", count=3)]
    state = await _run(prompts, str(tmp_path), batch_id="within-budget", max_credits=11)
    assert state.is_failed()
    assert "max_credits" in (state.message or "")
    assert keys.report(jobs=False)["charged"]["imaginelab"] == 10
    wanted = {
        "filter": {
            "event": {"prefix": ["imagine."]},
            "resource": {"id": ["imagine.batch.within-budget"]},
        }
    }
    deadline = time.monotonic() + 180
    async with httpx.AsyncClient(base_url=prefect_server, timeout=60) as http:
        while True:
            told = (await http.post("/events/filter", json=wanted)).json()["events"]
            payloads = {each["event"]: each["payload"] for each in told}
            if len(payloads) == 3:
                break
            assert time.monotonic() < deadline, told
            await asyncio.sleep(0.2)
    assert payloads["imagine.batch.started"]["remaining"] == 3
    for name in ("imagine.batch.stopped", "imagine.budget.exceeded"):
        assert payloads[name]["stopped_by"] == ["budget"]
        assert payloads[name]["credits"]["charged"] == 10
