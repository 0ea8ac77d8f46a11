"""Automations on the Prefect server that act on runs of batches: made, updated and removed by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType
from prefect.events.actions import (
    ActionTypes,
    CancelFlowRun,
    ChangeFlowRunState,
    PauseDeployment,
    RunDeployment,
    SendNotification,
)
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.tasks.events import (
    BUDGET_EXCEEDED,
    BUDGET_THRESHOLD,
    CREDITS_LOW,
    GENERATION_FAILED,
)
from prefect_imagine.tasks.server import prefect_server

MANY_FAILURES = "imagine: many failures"
MANY_FAILURES_IN_FLEET = "imagine: many failures in a fleet"
LOW_CREDITS = "imagine: credits low"
BUDGET_REACHED = "imagine: budget reached"
BUDGET_THRESHOLD_REACHED = "imagine: budget runs out"
RESUME_CRASHED = "imagine: resume a crashed run"
LOST_WORKER = "imagine: lost worker"
NAMES = (
    MANY_FAILURES,
    MANY_FAILURES_IN_FLEET,
    LOW_CREDITS,
    BUDGET_REACHED,
    BUDGET_THRESHOLD_REACHED,
    RESUME_CRASHED,
    LOST_WORKER,
)

FLOW = "generate-batch"
SHARD_FLOW = "generate-shard"
RESUME = "resume-crashed/resume-crashed"
CANCEL = "cancel-batch/cancel-batch"
MISSED_HEARTBEATS = 3
HEARTBEAT_SECONDS = 180
_HEARTBEAT = "prefect.flow-run.heartbeat"


def _of_flow(*names: str) -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": list(names)})


_OF_EITHER = _of_flow(FLOW, SHARD_FLOW)
_DEPLOYED = ResourceSpecification({"prefect.resource.id": "prefect.deployment.*"})
_THE_RUN = {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"}
_BATCH = "{{ event.resource.name }}"
_PAYLOAD = "{% for name, value in event.payload.items() %}{{ name }}: {{ value }}\n{% endfor %}"


@dataclass(frozen=True)
class Targets:
    """What the automations act on.

    Attributes:
        resume: the deployment that goes on with a crashed run.
        cancel: the one that cancels batches, where there is one.
        scheduled: deployments that spend credits on a schedule.
        notification: a block to notify with.
        lost_after: how long a run may be silent before its worker counts as lost.
    """

    resume: UUID
    cancel: UUID | None = None
    scheduled: tuple[UUID, ...] = ()
    notification: UUID | None = None
    lost_after: timedelta = timedelta(seconds=MISSED_HEARTBEATS * HEARTBEAT_SECONDS)


@dataclass(frozen=True)
class Change:
    """What became of one automation on the server."""

    name: str
    change: Literal["made", "updated", "unchanged", "removed"]
    does: str = ""


async def set_up(*, failures: int, within: timedelta, notify: str | None = None) -> list[Change]:
    """Make the automations, or bring those that exist up to date; one that a person has paused stays so.

    Args:
        failures: how many failed generations of one batch cancel it.
        within: the time in which they are counted.
        notify: a notification block, as type/name.

    Raises:
        ConfigurationError: there is no Prefect server, deployment or block to act with; nothing was made.
    """
    async with prefect_server() as client:
        targets = await _targets(client, notify)
        wanted = {each.name: each for each in definitions(targets, failures, within)}
        changes = [await _put(client, each) for each in wanted.values()]
        return changes + await _remove(client, (name for name in NAMES if name not in wanted))


async def remove() -> list[Change]:
    """Remove exactly the automations that `set_up` makes. Raises `ConfigurationError`."""
    async with prefect_server() as client:
        return await _remove(client, NAMES)


def definitions(targets: Targets, failures: int, within: timedelta) -> list[AutomationCore]:
    """The automations that there is something to do for."""
    found = [
        _many_failures(targets, failures, within),
        _many_failures_in_fleet(targets, failures, within),
        _low_credits(targets),
        _budget_reached(targets),
        _budget_runs_out(targets),
        _resume_crashed(targets),
        _lost_worker(targets),
    ]
    return [each for each in found if each.actions]


def _many_failures(targets: Targets, failures: int, within: timedelta) -> AutomationCore:
    return AutomationCore(
        name=MANY_FAILURES,
        description=f"{failures} failed generations of a batch within {_minutes(within)}: "
        "its run is cancelled",
        trigger=_failures_of_a_batch(FLOW, failures, within),
        actions=[CancelFlowRun(), *_cancelled_notification(targets, failures, within)],
    )


def _many_failures_in_fleet(targets: Targets, failures: int, within: timedelta) -> AutomationCore:
    # The run that tells of the last failure has one shard of many.
    actions: list[ActionTypes] = []
    if targets.cancel is not None:
        actions = [_with_the_run(targets.cancel), *_cancelled_notification(targets, failures, within)]
    return AutomationCore(
        name=MANY_FAILURES_IN_FLEET,
        description=f"{failures} failed generations of a batch that a fleet runs within {_minutes(within)}: "
        f"{CANCEL} cancels the batch",
        trigger=_failures_of_a_batch(SHARD_FLOW, failures, within),
        actions=actions,
    )


def _failures_of_a_batch(flow: str, failures: int, within: timedelta) -> EventTrigger:
    # A run from the command line has no worker that could stop it, and a person who watches it.
    return EventTrigger(
        expect={GENERATION_FAILED},
        match=ResourceSpecification({"prefect.resource.id": "imagine.batch.*"}),
        match_related=[_of_flow(flow), _DEPLOYED],
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=failures,
        within=within,
    )


def _cancelled_notification(targets: Targets, failures: int, within: timedelta) -> list[ActionTypes]:
    return _notification(
        targets,
        f"Batch {_BATCH}: many failures",
        f"{failures} generations of batch {_BATCH} failed within {_minutes(within)}. It was cancelled and "
        f"can be resumed. The last one:\n{_PAYLOAD}",
    )


def _minutes(within: timedelta) -> str:
    return f"{within.total_seconds() / 60:g} minutes"


def _with_the_run(deployment: UUID) -> RunDeployment:
    """Runs a deployment with the id of the run that the event is about, or comes from."""
    return RunDeployment(deployment_id=deployment, parameters={"flow_run_id": _THE_RUN})


def _low_credits(targets: Targets) -> AutomationCore:
    return AutomationCore(
        name=LOW_CREDITS,
        description=f"an account is low on credits: scheduled deployments of {FLOW} are paused",
        trigger=EventTrigger(
            expect={CREDITS_LOW},
            match=ResourceSpecification({"prefect.resource.id": "imagine.account.*"}),
            posture=Posture.Reactive,
        ),
        actions=[
            *(PauseDeployment(deployment_id=each) for each in targets.scheduled),
            *_notification(targets, f"Credits of {_BATCH} are low", _PAYLOAD),
        ],
    )


def _budget_reached(targets: Targets) -> AutomationCore:
    return AutomationCore(
        name=BUDGET_REACHED,
        description="a batch was stopped by its budget: told",
        trigger=EventTrigger(
            expect={BUDGET_EXCEEDED},
            match=ResourceSpecification({"prefect.resource.id": "imagine.batch.*"}),
            posture=Posture.Reactive,
        ),
        actions=_notification(targets, f"Batch {_BATCH} has reached its budget", _PAYLOAD),
    )


def _budget_runs_out(targets: Targets) -> AutomationCore:
    return AutomationCore(
        name=BUDGET_THRESHOLD_REACHED,
        description="a budget is half, or by 80, 95 or 100 percent, used up: told",
        trigger=EventTrigger(
            expect={BUDGET_THRESHOLD},
            match=ResourceSpecification({"prefect.resource.id": "imagine.budget.*"}),
            posture=Posture.Reactive,
        ),
        actions=_notification(
            targets, f"Budget {_BATCH}: {{{{ event.payload.percent }}}} % are used up", _PAYLOAD
        ),
    )


def _resume_crashed(targets: Targets) -> AutomationCore:
    # Of a run from the command line nobody else has the prompts, the keys or the folder.
    return AutomationCore(
        name=RESUME_CRASHED,
        description=f"a deployed run of {FLOW} or {SHARD_FLOW} has crashed: {RESUME} goes on with it",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match_related=[_OF_EITHER, _DEPLOYED],
            posture=Posture.Reactive,
        ),
        actions=[_with_the_run(targets.resume)],
    )


def _lost_worker(targets: Targets) -> AutomationCore:
    # After these, and only these, silence is right. After a crash it does no harm, since a run that has ended
    # cannot crash; and an event that two of these automations watch gets lost when SQLite is busy.
    ends = ("Completed", "Failed", "Cancelled", "Cancelling", "Suspended")
    silent = f"{targets.lost_after.total_seconds() / 60:g} minutes"
    return AutomationCore(
        name=LOST_WORKER,
        description=f"a run of {FLOW} or {SHARD_FLOW} has been silent for {silent}: it counts as crashed",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *(f"prefect.flow-run.{state}" for state in ends)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_OF_EITHER,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=targets.lost_after,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, name="Crashed", message=f"no sign of life for {silent}: worker lost"
            )
        ],
    )


def _notification(targets: Targets, subject: str, body: str) -> list[ActionTypes]:
    if targets.notification is None:
        return []
    return [SendNotification(block_document_id=targets.notification, subject=subject, body=body)]


async def _targets(client: PrefectClient, notify: str | None) -> Targets:
    heartbeat = get_current_settings().flows.heartbeat_frequency or HEARTBEAT_SECONDS
    deployed = await client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    resume = await _deployed(client, RESUME)
    if resume is None:
        raise ConfigurationError(
            f"there is no deployment {RESUME} on the Prefect server: run `prefect deploy --all` first"
        )
    return Targets(
        resume=resume,
        cancel=await _deployed(client, CANCEL),
        scheduled=tuple(each.id for each in deployed if each.schedules),
        notification=None if notify is None else await _block(client, notify),
        lost_after=timedelta(seconds=MISSED_HEARTBEATS * heartbeat),
    )


async def _deployed(client: PrefectClient, name: str) -> UUID | None:
    try:
        return (await client.read_deployment_by_name(name)).id
    except ObjectNotFound:
        return None


async def _block(client: PrefectClient, notify: str) -> UUID:
    kind, _, name = notify.partition("/")
    try:
        found = await client.read_block_document_by_name(name, kind)
    except ObjectNotFound as error:
        raise ConfigurationError(
            f"there is no block {notify!r}: give the type and name of a notification block, such as "
            "slack-webhook/alerts (`prefect block ls` lists yours)"
        ) from error
    if "notify" not in (found.block_schema.capabilities if found.block_schema else ()):
        raise ConfigurationError(f"block {notify!r} cannot notify anybody: it is no notification block")
    return found.id


async def _put(client: PrefectClient, wanted: AutomationCore) -> Change:
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return Change(wanted.name, "made", wanted.description)
    kept, *others = found
    for each in others:
        await client.delete_automation(each.id)
    wanted = wanted.model_copy(update={"enabled": kept.enabled})
    if AutomationCore(**kept.model_dump()) == wanted:
        # An update would forget the events that it has counted so far.
        return Change(wanted.name, "unchanged", wanted.description)
    await client.update_automation(kept.id, AutomationCore(**wanted.model_dump(exclude={"owner_resource"})))
    return Change(wanted.name, "updated", wanted.description)


async def _remove(client: PrefectClient, names: Iterable[str]) -> list[Change]:
    removed = []
    for name in names:
        for each in await client.read_automations_by_name(name):
            await client.delete_automation(each.id)
            removed.append(Change(name, "removed"))
    return removed
