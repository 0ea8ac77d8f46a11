"""Automations on a real Prefect server: what they do when the events come, and how they are made."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import emit_event
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.flow_engine import run_flow_async
from prefect.states import Crashed, Running

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.tasks.automations import (
    BUDGET_REACHED,
    BUDGET_THRESHOLD_REACHED,
    LOST_WORKER,
    LOW_CREDITS,
    MANY_FAILURES,
    MANY_FAILURES_IN_FLEET,
    NAMES,
    RESUME_CRASHED,
    remove,
    set_up,
)
from prefect_imagine.tasks.events import CREDITS_LOW, GENERATION_FAILED
from tests.cli.commands import Ended, Shell, assert_refused
from tests.prefect_server import settings, shared_server, stop_shared_server

pytestmark = pytest.mark.long
TOLD_ALONE = {BUDGET_REACHED, BUDGET_THRESHOLD_REACHED}
"""They do nothing but tell people, where there is a block to tell them with."""
OF_FLEETS = {MANY_FAILURES_IN_FLEET}
"""They need a deployment that cancels batches."""
WITHIN = timedelta(minutes=10)
SECONDS = 120.0
LOOK_SECONDS = 6.0
"""More than the seconds between two looks of the server at what has not happened."""


@pytest.fixture(scope="module")
def prefect_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server of this module's own: automations act on whatever else runs on theirs."""
    folder = tmp_path_factory.mktemp("automations")
    yield settings(folder / "home", shared_server(folder))
    stop_shared_server(folder)


@pytest.fixture
async def client(prefect_server: str) -> AsyncIterator[PrefectClient]:
    async with get_client() as client:
        yield client
        for deployment in await client.read_deployments():
            await client.delete_deployment(deployment.id)
    await remove()


@flow(name="generate-batch")
async def generate_batch(failures: int = 0) -> None:
    """Stands for the real one: it has the same name, and tells of failed generations."""
    for index in range(failures):
        tell_failure("ours", index)
        tell_failure(f"another-{index}", index)


@flow(name="generate-shard")
async def generate_shard(failures: int = 0) -> None:
    """Stands for the real one: it has the same name, and tells of failed generations of one batch."""
    for index in range(failures):
        tell_failure("of-a-fleet", index)


@flow(name="cancel-batch")
async def cancel_batch(flow_run_id: str) -> None:
    """Stands for the real one: it has the same name and parameter."""


@flow(name="resume-crashed")
async def resume_crashed(flow_run_id: str) -> None:
    """Stands for the real one: it has the same name and parameter."""


@pytest.fixture
async def resume(client: PrefectClient) -> UUID:
    """A deployment that goes on with crashed runs."""
    return await client.create_deployment(await client.create_flow(resume_crashed), "resume-crashed")


@pytest.fixture
async def nightly(client: PrefectClient, resume: UUID) -> UUID:
    """A deployment that spends credits on a schedule."""
    every_night = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *"))
    made = await client.create_flow(generate_batch)
    return await client.create_deployment(made, "generate-nightly", schedules=[every_night], paused=False)


@pytest.fixture
def notified() -> Iterator[tuple[str, list[str]]]:
    """Where notifications can be sent, and those that came."""
    came: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{receiver.server_port}/", came
        receiver.shutdown()


def tell_failure(batch_id: str, index: int) -> None:
    emit_event(
        event=GENERATION_FAILED,
        resource={"prefect.resource.id": f"imagine.batch.{batch_id}", "prefect.resource.name": batch_id},
        payload={"provider": "imaginelab", "index": index, "reason": "moderation", "message": "not this"},
    )


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for what the server does; gives what was found."""
    deadline = time.monotonic() + SECONDS
    while not (result := await found()):
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)
    return result


async def reached(client: PrefectClient, run: UUID, state: str) -> None:
    async def there() -> bool:
        return (await client.read_flow_run(run)).state_type == state

    await until(there)


async def resumed(client: PrefectClient, deployment: UUID, known: FlowRun) -> FlowRun:
    """The one run that the server has made of a deployment, besides the one that is known."""
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))

    async def others() -> list[FlowRun]:
        return [run for run in await client.read_flow_runs(deployment_filter=of_it) if run.id != known.id]

    found: list[FlowRun] = await until(others)
    assert len(found) == 1
    return found[0]


async def made(client: PrefectClient) -> dict[str, Automation]:
    found = await client.read_automations()
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def within(automation: Automation) -> timedelta:
    """The time in which its trigger counts, or misses, events."""
    assert isinstance(automation.trigger, EventTrigger)
    return automation.trigger.within


async def test_many_failures_of_one_batch_cancel_its_run(client: PrefectClient, nightly: UUID) -> None:
    await set_up(failures=3, within=WITHIN)
    well = await client.create_flow_run_from_deployment(nightly)
    ill = await client.create_flow_run_from_deployment(nightly)
    await run_flow_async(generate_batch, flow_run=well, parameters={"failures": 2}, return_type="state")
    assert (await client.read_flow_run(well.id)).state_type == "COMPLETED"

    @flow(name="generate-batch")
    async def failing() -> None:
        tell_failure("ours", 3)
        await reached(client, ill.id, "CANCELLING")

    await run_flow_async(failing, flow_run=ill, return_type="state")
    assert (await client.read_flow_run(ill.id)).state_type == "CANCELLING"


async def test_many_failures_of_shards_cancel_their_batch(client: PrefectClient, resume: UUID) -> None:
    cancel = await client.create_deployment(await client.create_flow(cancel_batch), "cancel-batch")
    shards = await client.create_deployment(await client.create_flow(generate_shard), "generate-shard")
    await set_up(failures=3, within=WITHIN)
    first, second = [await client.create_flow_run_from_deployment(shards) for _ in range(2)]
    await run_flow_async(generate_shard, flow_run=first, parameters={"failures": 2}, return_type="state")
    await run_flow_async(generate_shard, flow_run=second, parameters={"failures": 1}, return_type="state")
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[cancel]))

    async def runs() -> list[FlowRun]:
        return await client.read_flow_runs(deployment_filter=of_it)

    [made_of_it] = await until(runs)
    assert made_of_it.parameters["flow_run_id"] in (str(first.id), str(second.id))
    assert (await client.read_flow_run(second.id)).state_type == "COMPLETED", "its batch ends it"


async def test_low_credits_pause_what_spends_on_a_schedule(
    client: PrefectClient, resume: UUID, nightly: UUID, notified: tuple[str, list[str]]
) -> None:
    address, came = notified
    block = CustomWebhookNotificationBlock(
        name="alerts", url=address, json_data={"text": "{{subject}}: {{body}}"}, secrets={}
    )
    await block.save("alerts", overwrite=True)
    await set_up(failures=3, within=WITHIN, notify="custom-webhook/alerts")
    emit_event(
        event=CREDITS_LOW,
        resource={
            "prefect.resource.id": "imagine.account.imaginelab",
            "prefect.resource.name": "imaginelab",
        },
        payload={"provider": "imaginelab", "credits": 12, "threshold": 100},
    )

    async def paused() -> bool:
        return (await client.read_deployment(nightly)).paused

    async def told() -> list[str]:
        return came

    await until(paused)
    assert not (await client.read_deployment(resume)).paused
    [said] = await until(told)
    assert "Credits of imaginelab are low" in said
    assert "credits: 12" in said


async def test_a_crashed_run_is_resumed(client: PrefectClient, resume: UUID, nightly: UUID) -> None:
    await set_up(failures=3, within=WITHIN)
    by_hand = await client.create_flow_run(generate_batch, state=Running())
    other = await client.create_flow_run_from_deployment(
        resume, parameters={"flow_run_id": "x"}, state=Running()
    )
    crashed = await client.create_flow_run_from_deployment(nightly, state=Running())
    for run in (by_hand, other, crashed):
        await client.set_flow_run_state(run.id, Crashed())
    assert (await resumed(client, resume, other)).parameters == {"flow_run_id": str(crashed.id)}


async def test_a_run_that_falls_silent_counts_as_crashed_and_is_resumed(
    client: PrefectClient, resume: UUID, nightly: UUID
) -> None:
    await set_up(failures=3, within=WITHIN)
    automation = (await made(client))[LOST_WORKER]
    lost_after = within(automation)
    foreign = await client.create_flow_run_from_deployment(
        resume, parameters={"flow_run_id": "x"}, state=Running()
    )
    well = await client.create_flow_run_from_deployment(nightly, state=Running())
    lost = await client.create_flow_run_from_deployment(nightly, state=Running())
    now = datetime.now(UTC)
    heartbeat(foreign, "resume-crashed", now - lost_after)
    heartbeat(well, "generate-batch", now - lost_after / 2)
    heartbeat(lost, "generate-batch", now - lost_after)

    async def crashed() -> bool:
        # Where the server looks before it knows of the heartbeats, it looks again only after the whole
        # window, which has passed already for the run that is lost; it looks at once after an update.
        await client.resume_automation(automation.id)
        await asyncio.sleep(LOOK_SECONDS)
        return (await client.read_flow_run(lost.id)).state_type == "CRASHED"

    await until(crashed)
    assert (await resumed(client, resume, foreign)).parameters == {"flow_run_id": str(lost.id)}
    for run in (well, foreign):
        assert (await client.read_flow_run(run.id)).state_type == "RUNNING"


def heartbeat(run: FlowRun, flow_name: str, at: datetime) -> None:
    """What Prefect's engine says of a run every few minutes."""
    emit_event(
        event="prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        related=[
            {
                "prefect.resource.id": f"prefect.flow.{run.flow_id}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": flow_name,
            }
        ],
        occurred=at,
    )


def copy_of(automation: Automation, name: str) -> AutomationCore:
    return AutomationCore(**{**automation.model_dump(exclude={"id"}), "name": name})


async def test_setting_up_again_changes_nothing_and_brings_up_to_date_what_differs(
    client: PrefectClient, nightly: UUID
) -> None:
    first = await set_up(failures=3, within=WITHIN)
    assert {each.name: each.change for each in first} == dict.fromkeys(
        set(NAMES) - TOLD_ALONE - OF_FLEETS, "made"
    )
    before = await made(client)
    again = await set_up(failures=3, within=WITHIN)
    assert {each.change for each in again} == {"unchanged"}
    assert await made(client) == before

    await client.pause_automation(before[LOW_CREDITS].id)
    await client.create_automation(copy_of(before[MANY_FAILURES], MANY_FAILURES))
    changed = {each.name: each.change for each in await set_up(failures=4, within=WITHIN)}
    assert changed == {**dict.fromkeys(before, "unchanged"), MANY_FAILURES: "updated"}
    after = await made(client)
    assert after[MANY_FAILURES].trigger.threshold == 4  # type: ignore[union-attr]
    assert not after[LOW_CREDITS].enabled


async def test_notifications_come_and_go_with_the_option(
    client: PrefectClient, resume: UUID, notified: tuple[str, list[str]]
) -> None:
    block = CustomWebhookNotificationBlock(name="alerts", url=notified[0])
    await block.save("alerts", overwrite=True)
    # Nothing runs on a schedule here: without somebody to tell, there is nothing to do about low credits.
    assert {each.name for each in await set_up(failures=3, within=WITHIN)} == {
        MANY_FAILURES,
        RESUME_CRASHED,
        LOST_WORKER,
    }
    with_notify = await set_up(failures=3, within=WITHIN, notify="custom-webhook/alerts")
    assert {each.name for each in with_notify if each.change == "made"} == {LOW_CREDITS, *TOLD_ALONE}
    without = await set_up(failures=3, within=WITHIN)
    assert {each.name for each in without if each.change == "removed"} == {LOW_CREDITS, *TOLD_ALONE}


async def test_exactly_what_was_made_is_removed(client: PrefectClient, nightly: UUID) -> None:
    await set_up(failures=3, within=WITHIN)
    own = await client.create_automation(copy_of((await made(client))[LOST_WORKER], "my own"))
    try:
        removed = await remove()
        assert {each.name for each in removed} == set(NAMES) - TOLD_ALONE - OF_FLEETS
        assert list(await made(client)) == ["my own"]
        assert await remove() == []
    finally:
        await client.delete_automation(own)


async def test_nothing_is_made_where_something_is_missing(client: PrefectClient) -> None:
    with pytest.raises(ConfigurationError, match="prefect deploy --all"):
        await set_up(failures=3, within=WITHIN)
    await client.create_deployment(await client.create_flow(resume_crashed), "resume-crashed")
    await Secret(value="x").save("no-alerts", overwrite=True)
    for notify in ("custom-webhook/nobody", "nothing", "secret/no-alerts"):
        with pytest.raises(ConfigurationError, match="notif"):
            await set_up(failures=3, within=WITHIN, notify=notify)
    assert await made(client) == {}


async def test_the_command_makes_tells_and_removes(
    client: PrefectClient, resume: UUID, prefect_environment: dict[str, str], tmp_path: Path
) -> None:
    shell = Shell(tmp_path, prefect_environment)

    async def run(*words: str, **environment: str | None) -> Ended:
        return await asyncio.to_thread(partial(shell.run, "setup-automations", *words, **environment))

    ended = await run("--failures", "7", "--within", "0.5", PREFECT_FLOWS_HEARTBEAT_FREQUENCY="60")
    assert (ended.code, ended.stderr) == (0, "")
    assert "7 failed generations of a batch within 0.5 minutes: its run is cancelled" in ended.stdout
    found = await made(client)
    assert within(found[MANY_FAILURES]) == timedelta(seconds=30)
    assert within(found[LOST_WORKER]) == timedelta(minutes=3)

    removed = await run("--remove", "--json")
    assert {each["change"] for each in removed.last["automations"]} == {"removed"}
    assert await made(client) == {}

    await client.delete_deployment(resume)
    assert_refused(await run("--json"), "prefect deploy --all")
    assert_refused(await run("--failures", "0", "--json"), "is no count")
    assert_refused(await run("--json", PREFECT_API_URL=None), "prefect server start")
