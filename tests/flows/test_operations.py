"""What an operator relies on: dry runs, approval, slices of a list, what can be watched, and upkeep."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flows import Flow
from prefect.states import Crashed, Running

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.batches.accounts.record import (
    AccountRecord,
    change_account_record,
    read_account_records,
)
from prefect_imagine.flows import cancel_batch, credit_report, reconcile_batches, resume_crashed
from prefect_imagine.prompts.rotation import Rotation
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from tests.books import assert_bill_is_exact, assert_paid_once, manifest
from tests.engine.waiting import until
from tests.flows import prefect_api
from tests.flows.prefect_api import artifacts_of, events_about, flow_run_of, run_named

pytestmark = pytest.mark.long

FOXES = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(3)]
BAD = Prompt(prompt="forbidden-content", provider="imaginelab")


def _nothing_was_created(sandbox: RunningSandbox) -> bool:
    return not sandbox.report(jobs=False)["charged"]["imaginelab"] and not sandbox.books.accepted


def _nothing_was_written(folder: Path) -> bool:
    return not list(folder.rglob("*.jsonl"))


async def _generate(output: Path, *prompts: Prompt, **parameters: Any) -> State[Any]:
    parameters["options"] = BatchOptions.model_validate(parameters.get("options", {"batch_id": "batch"}))
    state: State[Any] = await generate_batch(list(prompts), str(output), return_state=True, **parameters)
    return state


class TestDryRun:
    async def test_the_estimate_is_told_and_nothing_is_spent_or_written(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        state = await _generate(tmp_path / "out", *FOXES, validate_only=True)
        assert state.is_completed()
        assert state.message == "3 items: imaginelab 15 credits; nothing was created"
        found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
        assert [(row["provider"], row["items"], row["credits"]) for row in found["imagine-estimate"]] == [
            ("imaginelab", 3, 15)
        ]
        assert _nothing_was_created(keys)
        assert _nothing_was_written(tmp_path)

    async def test_every_problem_is_told(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        bad = [Prompt(prompt=""), Prompt(prompt="x", kind="sculpture")]
        state = await _generate(tmp_path, *FOXES, *bad, provider="imaginelab", validate_only=True)
        assert state.is_failed()
        assert "2 problems" in (state.message or "")
        found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
        assert [(row["row"], row["column"]) for row in found["imagine-problems"]] == [
            (4, "prompt"),
            (5, "kind"),
        ]
        assert _nothing_was_created(keys)


class TestApproval:
    async def _answered(self, name: str, output: Path, answer: bool) -> State[Any]:
        asking = asyncio.create_task(
            _generate(output, *FOXES, options={"batch_id": name}, approve_above=14, approval_minutes=2)
        )
        paused = await run_named(f"generate {name}", "Paused")
        async with get_client() as client:
            await client.resume_flow_run(paused.id, run_input={"approve": answer})
        return await asking

    async def test_approved_it_goes_on(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        state = await self._answered(f"yes-{uuid4().hex[:8]}", tmp_path, True)
        assert state.is_completed(), state
        assert state.message == "3 of 3 stored"

    async def test_refused_nothing_is_spent(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        state = await self._answered(f"no-{uuid4().hex[:8]}", tmp_path, False)
        assert state.is_cancelled(), state
        assert "a person said no: 3 items: imaginelab 15 credits" in (state.message or "")
        assert _nothing_was_created(keys)
        assert _nothing_was_written(tmp_path)

    async def test_no_answer_means_no(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        state = await _generate(tmp_path, *FOXES, approve_above=14, approval_minutes=0.01)
        assert state.is_cancelled(), state
        assert "nobody approved it" in (state.message or "")
        assert _nothing_was_created(keys)

    async def test_below_the_threshold_nobody_is_asked(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        state = await _generate(tmp_path, *FOXES, approve_above=15)
        assert state.is_completed(), state

    async def test_what_has_no_price_is_asked_for(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        unpriced = Prompt(prompt="a fox", provider="imagineapi")
        state = await _generate(tmp_path, unpriced, approve_above=1000, approval_minutes=0.01)
        assert state.is_cancelled(), state
        assert "without a price" in (state.message or "")


class TestSlices:
    async def test_a_nightly_run_takes_the_days_rows_and_names_the_day(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        listed = tmp_path / "list.csv"
        rows = [f"picture {number} of {{date}}" for number in range(7)]
        listed.write_text("prompt\n" + "\n".join(rows) + "\n")
        options = BatchOptions(batch_id="nightly-{date}")
        chosen = {"provider": "imaginelab", "rotation": Rotation(take=3), "time_zone": "Pacific/Auckland"}
        states = [
            await generate_batch(
                str(listed), str(tmp_path / "out"), options=options, return_state=True, **chosen
            )
            for _ in range(2)
        ]
        assert [state.is_completed() for state in states] == [True, True], states
        (batch,) = (each for each in (tmp_path / "out").iterdir() if each.name != ".imagine")
        day = batch.name.removeprefix("nightly-")
        assert (await flow_run_of(states[0])).name == f"generate nightly-{day}"
        lines = manifest(open_store(str(tmp_path / "out")), batch.name)
        assert {line["request"]["prompt"].partition(" of ")[2] for line in lines} == {day}
        assert sum(keys.books.accepted.values()) == 3  # the second run of the day is the same batch

    async def test_an_unknown_time_zone_is_told(self, keys: RunningSandbox, prefect_server: str) -> None:
        state = await generate_batch([], "/nowhere", time_zone="Mars/Olympus", return_state=True)
        assert state.is_failed()
        assert "Mars/Olympus" in (state.message or "")


class TestWatching:
    async def test_progress_failures_and_events(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        name = f"watched-{uuid4().hex[:8]}"
        threshold = 10**9 + uuid4().int % 10**9  # other tests tell of the same account
        state = await _generate(
            tmp_path, *FOXES, BAD, options={"batch_id": name}, low_credits={"imaginelab": threshold}
        )
        assert state.message == "3 of 4 stored, 1 failed"
        found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
        assert found["imagine-progress"] == 100
        (failure,) = found["imagine-failures"]
        assert (failure["provider"], failure["reason"], failure["items"]) == ("imaginelab", "moderation", 1)
        assert "forbidden-content" in failure["examples"]
        told = {
            each["event"]: each for each in await events_about(prefect_server, f"imagine.batch.{name}", 3)
        }
        assert set(told) == {"imagine.batch.started", "imagine.generation.failed", "imagine.batch.finished"}
        failed = told["imagine.generation.failed"]
        assert (failed["payload"]["index"], failed["payload"]["reason"]) == (4, "moderation")
        roles = {each["prefect.resource.role"] for each in failed["related"]}
        assert {"flow", "flow-run"} <= roles

        async def told_low() -> bool:
            low = await events_about(prefect_server, "imagine.account.imaginelab", 1)
            return threshold in {each["payload"]["threshold"] for each in low}

        assert await prefect_api.until(told_low, "the account to be told low")

    async def test_old_failures_are_not_told_again(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        name = f"again-{uuid4().hex[:8]}"
        await _generate(tmp_path, FOXES[0], BAD, options={"batch_id": name})
        await _generate(tmp_path, FOXES[0], BAD, options={"batch_id": name})
        told = await events_about(prefect_server, f"imagine.batch.{name}", 4)
        assert Counter(each["event"] for each in told)["imagine.generation.failed"] == 1


class TestUpkeep:
    async def test_the_credit_report_is_the_bill(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        labelled = Prompt(prompt="a heron", provider="imaginelab", labels={"team": "a|b <script>"})
        await _generate(tmp_path, *FOXES, labelled, options={"batch_id": "one"})
        await _generate(tmp_path, *FOXES, BAD, options={"batch_id": "two"})
        store = open_store(str(tmp_path))
        [identity] = read_account_records(store)
        forgotten = AccountRecord(provider="imaginelab")
        change_account_record(store, identity, "imaginelab", lambda known: forgotten)
        state = await credit_report(str(tmp_path), return_state=True, low_credits={"imaginelab": 10**9})
        assert state.is_completed(), state
        found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
        charged = keys.report(jobs=False)["charged"]["imaginelab"]
        assert sum(row["charged"] for row in found["imagine-credits-by-model"]) == charged
        (label,) = found["imagine-credits-by-label"]
        assert (label["name"], label["items"], label["charged"]) == ("team=a|b <\u200bscript>", 1, 5)
        page = found["imagine-credit-report"]
        assert "2 batches" in page
        [account] = read_account_records(store).values()
        assert f"| imaginelab | {account.balance} |" in page
        assert "<script>" not in page
        await _generate(tmp_path / "elsewhere", FOXES[0])
        await _generate(tmp_path, FOXES[1])
        state = await credit_report(str(tmp_path), return_state=True)
        found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
        against = found["imagine-credit-report"].partition("## Against the accounts")[2].partition("##")[0]
        assert "fell by 10, and the books charged 5 credits: 5 are unexplained" in against

    async def test_an_account_whose_balance_cannot_be_seen_is_not_low(
        self,
        sandbox: RunningSandbox,
        tmp_path: Path,
        prefect_server: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in sandbox.environment_of("report-blind").items():
            monkeypatch.setenv(name, value)
        low = {"imaginelab": 10**8}
        state = await _generate(tmp_path, FOXES[0], low_credits=low)
        assert state.is_completed(), state
        state = await credit_report(str(tmp_path), return_state=True, low_credits=low)
        found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
        assert "| imaginelab | not told: " in found["imagine-credit-report"]
        assert "Against" not in found["imagine-credit-report"]
        for name, value in sandbox.environment.items():
            monkeypatch.setenv(name, value)
        state = await credit_report(str(tmp_path), return_state=True, low_credits={"imaginelab": 10**8 + 1})

        async def thresholds() -> set[int] | None:
            told = await events_about(prefect_server, "imagine.account.imaginelab", 1)
            found = {each["payload"]["threshold"] for each in told}
            return found if 10**8 + 1 in found else None

        assert 10**8 not in await prefect_api.until(thresholds, "the event of an account that is low")

    async def test_a_running_batch_is_cancelled_reconciled_and_resumed(
        self, keys: RunningSandbox, tmp_path: Path, prefect_server: str
    ) -> None:
        limit = {"limit": 5, "window_seconds": 3.0, "headers": True}
        keys.configure(rate_limits={"imaginelab": limit})
        many = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(60)]
        running = asyncio.create_task(_generate(tmp_path, *many))
        await until(lambda: sum(keys.books.accepted.values()) >= 5)
        state = await cancel_batch("batch", str(tmp_path), return_state=True)
        assert state.is_completed(), state
        cancelled = await running
        assert cancelled.is_cancelled(), cancelled
        assert "cancelled from" in (cancelled.message or "")
        found = await artifacts_of(prefect_server, (await flow_run_of(cancelled)).id)
        assert sum(row["items"] for row in found["imagine-usage"]) == 60
        keys.configure(rate_limits={"imaginelab": {**limit, "limit": 10**6}})
        accepted = sum(keys.books.accepted.values())
        assert accepted < 60
        state = await reconcile_batches(str(tmp_path), return_state=True)
        assert state.is_completed(), state
        assert sum(keys.books.accepted.values()) == accepted
        lines = manifest(open_store(str(tmp_path)), "batch")
        assert Counter(line["status"] for line in lines) == {"stored": accepted, "planned": 60 - accepted}
        (row,) = (await artifacts_of(prefect_server, (await flow_run_of(state)).id))["imagine-reconciled"]
        assert row["outcome"].startswith(f"{accepted} of 60 stored")
        assert (await _generate(tmp_path, *many)).is_completed()
        assert_paid_once(keys, Counter(("imaginelab", prompt.prompt) for prompt in many))
        assert_bill_is_exact(open_store(str(tmp_path)), "batch", keys)

    async def test_a_batch_that_is_not_there_is_told(self, tmp_path: Path, prefect_server: str) -> None:
        state = await cancel_batch("nothing", str(tmp_path), return_state=True)
        assert state.is_failed()
        assert "there is no batch 'nothing'" in (state.message or "")


class TestCrashed:
    @pytest.mark.parametrize(
        ("deployed", "begun", "crashes", "outcome", "then"),
        [
            (True, 1, 1, "COMPLETED", "AwaitingRetry"),
            (True, 4, 1, "COMPLETED", "AwaitingRetry"),
            (True, 3, 3, "FAILED", "Crashed"),
            (False, 1, 1, "FAILED", "Crashed"),
        ],
        ids=[
            "is scheduled again",
            "after it has waited for people too",
            "too often is left alone",
            "without a deployment is left alone",
        ],
    )
    async def test_a_crashed_run(
        self, prefect_server: str, deployed: bool, begun: int, crashes: int, outcome: str, then: str
    ) -> None:
        flow: Flow[..., Any] = generate_batch
        async with get_client() as client:
            if deployed:
                of = await client.create_deployment(
                    await client.create_flow(flow), name=f"crashing-{uuid4().hex[:8]}"
                )
                run = await client.create_flow_run_from_deployment(of)
            else:
                run = await client.create_flow_run(flow, parameters={})
            for left in reversed(range(begun)):
                await client.set_flow_run_state(run.id, Running(), force=True)
                if left < crashes:
                    await client.set_flow_run_state(run.id, Crashed(), force=True)
            state = await resume_crashed(run.id, return_state=True)
            assert state.type.value == outcome, state
            assert (await client.read_flow_run(run.id)).state_name == then

    async def test_a_run_that_has_not_crashed_is_left_alone(self, prefect_server: str) -> None:
        async with get_client() as client:
            flow: Flow[..., Any] = generate_batch
            run = await client.create_flow_run(flow, parameters={})
            state = await resume_crashed(run.id, return_state=True)
        assert state.is_completed()
        assert "has not crashed" in (state.message or "")
