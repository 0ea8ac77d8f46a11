"""A person's answer: what it changes, and that it holds for a run that is begun again after a crash."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow_async
from prefect.states import AwaitingRetry, Crashed

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.batches.approvals import read_approval
from prefect_imagine.errors import BatchIncompleteError
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.stores import Store, open_store
from tests.books import assert_bill_is_exact, manifest
from tests.chaos.command import Run
from tests.flows.prefect_api import answered, artifacts_of, flow_run_of, run_named, until

pytestmark = pytest.mark.long

LAB, STUDIO = "imaginelab", "aivisualstudio"
FOXES = [Prompt(prompt=f"fox {number}", provider=LAB) for number in range(4)]
HARES = [Prompt(prompt=f"hare {number}", provider=STUDIO) for number in range(2)]
TIMING = {"deadline": 1, "create": 1.5, "settle": 0.5}
UNASKED = 0.001
"""Minutes in which nobody answers: a run that asks ends as cancelled."""


class Batch:
    """A batch under a root of its own, and runs of it that ask about everything."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, api_url: str) -> None:
        self.name = f"asked-{uuid4().hex}"  # folders of several test workers have the same name
        self.root = folder / "root"
        self.sandbox = sandbox
        self._folder = folder
        self._api_url = api_url

    @property
    def store(self) -> Store:
        return open_store(str(self.root))

    def parameters(self, prompts: Sequence[Prompt], minutes: float = 10, **options: Any) -> dict[str, Any]:
        """Of a run."""
        return {
            "prompts": list(prompts),
            "output": str(self.root),
            "approve_above": 0,
            "approval_minutes": minutes,
            "options": BatchOptions.model_validate({"batch_id": self.name, "timing": TIMING, **options}),
        }

    async def run(self, prompts: Sequence[Prompt], **options: Any) -> State[Any]:
        """A run that nobody answers."""
        return await _generated(self.parameters(prompts, UNASKED, **options))

    async def answered(self, prompts: Sequence[Prompt], answer: dict[str, Any], **options: Any) -> State[Any]:
        """A run that somebody answers."""
        running = asyncio.create_task(_generated(self.parameters(prompts, **options)))
        await self.answer(answer)
        return await running

    async def answer(self, answer: dict[str, Any]) -> FlowRun:
        """Answer the run that waits."""
        return await answered(f"generate {self.name}", answer)

    async def killed(
        self,
        prompts: Sequence[Prompt],
        answer: dict[str, Any],
        failpoint: str,
        minutes: float = 10,
        **options: Any,
    ) -> FlowRun:
        """A run that somebody answers, and whose process is killed at a place after that; without a place, it
        is killed while it waits, and answered then."""
        given = self.parameters(prompts, minutes, **options)
        given["prompts"] = [each.model_dump(exclude_defaults=True) for each in prompts]
        given["options"] = given["options"].model_dump(mode="json")
        path = self._folder / "parameters.json"
        path.write_text(json.dumps(given))
        environment = {"PREFECT_API_URL": self._api_url, "PREFECT_IMAGINE_FAILPOINT": failpoint}
        log = self._folder / "killed.log"
        process = Run([str(path)], environment, log, module="tests.flows.approving")
        try:
            if not failpoint:
                await _whole_question(await run_named(f"generate {self.name}", "Paused"))
                process.kill()
            flow_run = await self.answer(answer)
            ended = await asyncio.to_thread(process.wait)
            assert ended == -signal.SIGKILL, process.errors
        finally:
            process.end()
        return flow_run

    def spent(self, provider: str) -> float:
        """By the provider's own books."""
        spent: float = self.sandbox.report(jobs=False)["charged"][provider]
        return spent


@pytest.fixture
def batch(keys: RunningSandbox, tmp_path: Path, prefect_server: str) -> Batch:
    return Batch(tmp_path, keys, prefect_server)


async def _generated(parameters: dict[str, Any]) -> State[Any]:
    state: State[Any] = await generate_batch(**parameters, return_state=True)
    return state


async def _whole_question(paused: FlowRun) -> None:
    """Wait until all of a question is on the server: Prefect writes it after the state, part by part."""
    assert paused.state is not None
    names = paused.state.state_details.run_input_keyset
    assert names is not None

    async def look() -> bool:
        async with get_client() as client:
            return bool(await client.filter_flow_run_input(paused.id, names["description"], 1, set()))

    await until(look, "the question to be written")


async def _stopped_by(state: State[Any]) -> tuple[str, ...]:
    assert state.is_failed(), state
    error = await state.aresult(raise_on_failure=False)
    assert isinstance(error, BatchIncompleteError)
    return error.summary.stopped_by


async def _begin_again(flow_run: FlowRun, parameters: dict[str, Any]) -> State[Any]:
    """The same flow run, as `resume-crashed` schedules it again."""
    async with get_client() as client:
        await client.set_flow_run_state(flow_run.id, Crashed(), force=True)
        await client.set_flow_run_state(flow_run.id, AwaitingRetry(), force=True)
        again = await client.read_flow_run(flow_run.id)
    ended: Any = await run_flow_async(generate_batch, again, parameters, return_type="state")
    assert isinstance(ended, State)
    return ended


class TestChanges:
    async def test_what_is_left_out_costs_nothing_and_comes_with_a_later_yes(
        self, batch: Batch, prefect_server: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        both = [*FOXES, *HARES]
        state = await batch.answered(both, {"approve": True, "leave_out_aivisualstudio": True})
        assert state.message == "4 of 4 stored"
        assert (batch.spent(LAB), batch.spent(STUDIO)) == (20, 0)
        assert f"is run as approved: 4 items: {LAB} 20 credits; without {STUDIO}" in caplog.text
        estimate = (await artifacts_of(prefect_server, (await flow_run_of(state)).id))["imagine-estimate"]
        assert [(row["provider"], row["items"], row["credits"]) for row in estimate] == [(LAB, 4, 20)]
        unanswered = await batch.run(both)
        assert unanswered.is_cancelled(), unanswered
        assert f"2 items: {STUDIO} 10 credits" in (unanswered.message or "")
        assert (await batch.answered(both, {"approve": True})).message == "6 of 6 stored"
        assert_bill_is_exact(batch.store, batch.name, batch.sandbox)

    async def test_what_was_planned_there_is_withdrawn_and_what_flies_is_stored(self, batch: Batch) -> None:
        both = [*FOXES, *HARES]
        given = {**batch.parameters(both, max_credits=5), "approve_above": None}
        await _generated(given)
        before = batch.spent(STUDIO), batch.spent(LAB)
        assert sum(before) == 5
        state = await batch.answered(both, {"approve": True, "leave_out_imaginelab": True})
        assert state.is_completed(), state
        assert (batch.spent(STUDIO), batch.spent(LAB)) == (10, before[1])
        found = [line["status"] for line in manifest(batch.store, batch.name)]
        stored = 2 + int(before[1] // 5)
        assert (found.count("stored"), found.count("withdrawn")) == (stored, 6 - stored)

    @pytest.mark.parametrize(("own", "answered"), [(None, 10), (50, 10), (10, 1000), (10, None)])
    async def test_a_limit_is_lowered_and_never_raised(
        self, batch: Batch, own: int | None, answered: int | None
    ) -> None:
        state = await batch.answered(FOXES, {"approve": True, "max_credits": answered}, max_credits=own)
        assert await _stopped_by(state) == ("budget",)
        assert batch.spent(LAB) == 10
        assert read_approval(batch.store, batch.name) is None
        assert (await batch.run(FOXES, max_credits=own)).is_cancelled(), "it asks for the rest"

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (
                {"leave_out_imaginelab": True, "leave_out_aivisualstudio": True},
                f"every provider was left out: {LAB}, {STUDIO}",
            ),
            ({"max_credits": -1}, "max_credits was answered with -1: a batch cannot cost less than 0"),
        ],
        ids=["nobody", "negative"],
    )
    async def test_an_impossible_yes_creates_nothing(
        self, batch: Batch, answer: dict[str, Any], told: str
    ) -> None:
        state = await batch.answered([*FOXES, *HARES], {"approve": True, **answer})
        assert state.is_cancelled(), state
        assert state.message == f"nothing was created: {told}"
        assert not batch.sandbox.books.accepted
        assert not batch.root.exists()

    async def test_a_limit_without_prices_creates_nothing(self, batch: Batch) -> None:
        unpriced = [*FOXES, Prompt(prompt="a hare", provider="imagineapi")]
        state = await batch.answered(unpriced, {"approve": True, "max_credits": 10})
        assert state.is_cancelled(), state
        assert "nothing was created: it cannot be run as it was approved: max_credits cannot be kept" in (
            state.message or ""
        )
        answer = {"approve": True, "max_credits": 10, "leave_out_imagineapi": True}
        assert await _stopped_by(await batch.answered(unpriced, answer)) == ("budget",)
        assert (batch.spent(LAB), batch.spent("imagineapi")) == (10, 0)

    async def test_a_provider_that_is_not_asked_cannot_be_left_out(self, batch: Batch) -> None:
        running = asyncio.create_task(_generated(batch.parameters([*FOXES, *HARES])))
        paused = await run_named(f"generate {batch.name}", "Paused")
        async with get_client() as client:
            answer = {"approve": True, "leave_out_blockadelabs": True}
            told = await client.resume_flow_run(paused.id, run_input=answer)
            assert told.status.value == "REJECT"
            await client.resume_flow_run(paused.id, run_input={"approve": False})
        assert (await running).is_cancelled()

    async def test_what_has_changed_while_somebody_thought_is_asked_for_again(
        self, batch: Batch, caplog: pytest.LogCaptureFixture
    ) -> None:
        both = [*FOXES, *HARES]
        running = asyncio.create_task(_generated(batch.parameters(both)))
        await run_named(f"generate {batch.name}", "Paused")
        others = [Prompt(prompt="another", provider=LAB), *FOXES]
        await _generated({**batch.parameters(others, max_credits=0), "approve_above": None})
        await batch.answer({"approve": True, "leave_out_aivisualstudio": True})
        await batch.answer({"approve": False})
        assert (await running).is_cancelled()
        assert "has changed while it waited for an answer" in caplog.text
        assert not batch.sandbox.books.accepted


class TestCrashes:
    @pytest.mark.parametrize("same", [True, False], ids=["same-run", "another-run"])
    @pytest.mark.parametrize("failpoint", ["after_approval", "after_post:2"])
    async def test_an_answer_holds_with_its_changes(
        self, batch: Batch, failpoint: str, same: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        both = [*FOXES, *HARES]
        answer = {"approve": True, "leave_out_aivisualstudio": True, "max_credits": 15}
        killed = await batch.killed(both, answer, failpoint)
        if same:
            state = await _begin_again(killed, batch.parameters(both, UNASKED))
        else:
            state = await batch.run(both)
        assert await _stopped_by(state) == ("budget",)
        assert "waits to be approved" not in caplog.text
        assert "goes on with what was approved" in caplog.text
        assert (batch.spent(LAB), batch.spent(STUDIO)) == (15, 0)
        assert_bill_is_exact(batch.store, batch.name, batch.sandbox)
        assert (await batch.run(both)).is_cancelled(), "it has ended: what is left is asked for"

    async def test_an_answer_is_taken_that_came_while_nobody_waited(
        self, batch: Batch, caplog: pytest.LogCaptureFixture
    ) -> None:
        both = [*FOXES, *HARES]
        answer = {"approve": True, "leave_out_aivisualstudio": True}
        killed = await batch.killed(both, answer, "", retry_failed=True)
        parameters = batch.parameters(both, retry_failed=True)
        state = await _begin_again(killed, parameters)
        assert state.message == "4 of 4 stored"
        assert "waits to be approved" not in caplog.text
        assert (batch.spent(LAB), batch.spent(STUDIO)) == (20, 0)

    async def test_an_answer_counts_once(self, batch: Batch) -> None:
        """What it was given for has failed and was paid for: the same question is another one."""
        batch.sandbox.faults.add(FaultRule("job_fails", times=1))
        fox, minutes, options = FOXES[:1], 0.2, {"retry_failed": True}
        killed = await batch.killed(fox, {"approve": True}, "mid_manifest", minutes, **options)
        accepted = sum(batch.sandbox.books.accepted.values())
        state = await _begin_again(killed, batch.parameters(fox, minutes, **options))
        assert state.is_cancelled(), state
        assert f"nobody approved it within 0.2 minutes: 1 items: {LAB} 5 credits" in (state.message or "")
        assert sum(batch.sandbox.books.accepted.values()) == accepted == 1

    async def test_more_than_was_approved_is_asked_for_again(self, batch: Batch) -> None:
        batch.sandbox.faults.add(FaultRule("job_fails", times=1))
        await batch.killed(FOXES, {"approve": True}, "after_created:4")
        spent = batch.spent(LAB)
        more = [*FOXES, Prompt(prompt="another", provider=LAB)]
        asked = await batch.run(more)
        assert asked.is_cancelled(), asked
        assert "nobody approved it" in (asked.message or "")
        assert not (await batch.run(FOXES)).is_cancelled()
        assert (await batch.run(FOXES, retry_failed=True)).is_cancelled()
        assert batch.spent(LAB) <= max(spent, 20)

    async def test_a_batch_that_is_made_again_is_asked_for_again(self, batch: Batch) -> None:
        await batch.killed(FOXES, {"approve": True}, "after_created:1")
        for folder in batch.root.iterdir():
            if folder.name == batch.name:
                for each in folder.iterdir():
                    if each.name != "approvals":
                        shutil.rmtree(each) if each.is_dir() else each.unlink()
        spent = batch.spent(LAB)
        asked = await batch.run(FOXES)
        assert asked.is_cancelled(), asked
        assert batch.spent(LAB) == spent

    async def test_a_no_is_not_kept(self, batch: Batch) -> None:
        assert (await batch.answered(FOXES, {"approve": False})).is_cancelled()
        assert not batch.root.exists()
        assert (await batch.answered(FOXES, {"approve": True})).is_completed()
