"""What people do to a flow run while it runs: Prefect informs its process of none of it, so the run asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound, Pause
from prefect.runtime import flow_run
from prefect.states import Suspended

from prefect_imagine.batches.stops import StopReason
from prefect_imagine.engine.session import Session
from prefect_imagine.tasks.schedule import is_deployed

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
ANSWER_SECONDS = 5.0
_STOPPED = frozenset(
    (StateType.CANCELLING, StateType.CANCELLED, StateType.FAILED, StateType.CRASHED, StateType.COMPLETED)
)


@dataclass
class Control:
    """What was done to a flow run from outside.

    Attributes:
        cancelled: whether it has to terminate because somebody has cancelled it.
        suspended: the state that it was suspended with; the process has to end without another one.
        gone: whether the flow run was deleted, so that nothing can be recorded about it any more.
    """

    cancelled: bool = False
    suspended: State | None = None
    gone: bool = False


@asynccontextmanager
async def controlled(session: Session) -> AsyncIterator[Control]:
    """Do as the present flow run's state says, for as long as the context lasts: nothing is created while it
    is paused, and the session is stopped where it is cancelled, suspended, ended or deleted."""
    control = Control()
    run_id = flow_run.id
    watching = asyncio.create_task(_watch(session, control, UUID(run_id))) if run_id else None
    try:
        yield control
    finally:
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    if run_id and control.suspended is None and session.was_stopped(StopReason.SUSPENDED):
        control.suspended = await _suspended(UUID(run_id))


async def step_aside() -> None:
    """End the process of a deployed run whose batch another process has taken over: it may run the same flow
    run, which was scheduled again while this process seemed to be gone, and whose state is that one's. Does
    nothing elsewhere.

    Raises:
        Pause: ends the process, and leaves the flow run as it is.
    """
    if not is_deployed():
        return
    logger.warning("another process has taken the batch over: this one ends, and leaves the run to it")
    raise Pause(state=await _suspended(UUID(flow_run.id)))


async def _suspended(run_id: UUID) -> State:
    """The state of a run that Prefect itself has seen suspended, which it may have before we look."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS), get_client() as client:
            state = await state_of(client, run_id)
    except Exception as error:
        logger.debug("the flow run's state could not be read: %s", error)
        state = None
    return state or Suspended()


async def _watch(session: Session, control: Control, run_id: UUID) -> None:
    async with get_client() as client:
        while not session.stopped.is_set():
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    state = await state_of(client, run_id)
            except ObjectNotFound:
                control.gone = True
                session.stop(StopReason.CANCELLED, f"the flow run was deleted; {how_to_go_on(session)}")
            except Exception as error:  # a server that is away stops no paid batch
                logger.debug("the flow run's state could not be read: %s", error)
            else:
                _obey(session, control, state)


async def state_of(client: PrefectClient, run_id: UUID) -> State | None:
    """A flow run's present state. Raises `ObjectNotFound`, and what Prefect's client raises."""
    return (await client.read_flow_run(run_id)).state


def is_suspended(state: State | None) -> bool:
    """Whether a flow run's process has to end without changing the run's state."""
    return (
        state is not None and state.type is StateType.PAUSED and state.state_details.pause_reschedule is True
    )


def is_stopped(state: State | None) -> bool:
    """Whether a flow run's process has to end because somebody has ended the run."""
    return state is not None and state.type in _STOPPED


def _obey(session: Session, control: Control, state: State | None) -> None:
    if state is None:
        return
    if is_suspended(state):
        control.suspended = state
        session.stop(StopReason.SUSPENDED, f"the flow run was suspended; {how_to_go_on(session)}")
    elif is_stopped(state):
        session.stop(StopReason.CANCELLED, f"the flow run was set to {state.name}; {how_to_go_on(session)}")
    else:
        _hold(session, state.type is StateType.PAUSED)


def _hold(session: Session, paused: bool) -> None:
    if paused and not session.held:
        logger.warning("the flow run is paused: nothing is created until it is resumed")
    elif session.held and not paused:
        logger.warning("the flow run goes on")
    session.hold(paused)


def how_to_go_on(session: Session) -> str:
    """What is under way, and how its batch goes on, in words."""
    counts = session.progress()
    return (
        f"{counts.running} jobs are under way; resume the run, or run batch {session.batch_id!r} again, "
        "to store them and go on"
    )
