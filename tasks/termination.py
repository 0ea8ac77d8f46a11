"""A flow run that has to terminate: its worker gives it some seconds, in which it closes its books."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from prefect_imagine.batches.stops import StopReason
from prefect_imagine.engine.session import Session
from prefect_imagine.tasks.control import Control, how_to_go_on, is_stopped, is_suspended, state_of

logger = logging.getLogger(__name__)

DECIDED_SECONDS = 15.0
"""How long to ask whether the run was cancelled: workers give a process 30 seconds to end."""
AGAIN_SECONDS = 1.0


class Termination:
    """A SIGTERM that came while a session ran. Prefect would end the run at once, wherever it is."""

    def __init__(self) -> None:
        self.asked = False


async def terminate(control: Control) -> None:
    """End a session that has to terminate, once its books are closed: as what was done to the flow run.

    Where nothing was done to it, whoever sent the signal wants the process to end, and it does: Prefect gets
    the signal, and reports the run as crashed, so that it is resumed elsewhere. While the server cannot be
    asked, nothing is reported of what may be a cancelled run.
    """
    if flow_run.id is None:
        return
    try:
        async with asyncio.timeout(DECIDED_SECONDS):
            state = await _present_state(UUID(flow_run.id))
    except TimeoutError:
        logger.warning("the run was told to terminate, its books are closed, and the server is away")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    except ObjectNotFound:
        control.cancelled = control.gone = True
    else:
        _end_as(state, control)


def _end_as(state: State | None, control: Control) -> None:
    if is_suspended(state):
        control.suspended = state
    elif is_stopped(state):
        control.cancelled = True
    else:
        signal.raise_signal(signal.SIGTERM)


async def _present_state(run_id: UUID) -> State | None:
    """The flow run's state, as soon as the server reports it. Raises `ObjectNotFound`."""
    while True:
        try:
            async with get_client() as client:
                return await state_of(client, run_id)
        except ObjectNotFound:
            raise
        except Exception as error:
            logger.debug("the flow run's state could not be read: %s", error)
            await asyncio.sleep(AGAIN_SECONDS)


@contextmanager
def ending_in_order(session: Session, *, listen: bool = True) -> Iterator[Termination]:
    """Stop the session at a SIGTERM, for whoever calls `terminate` once its books are closed.

    Does nothing outside the main thread, or unless it is to listen: somebody else may look after signals.
    """
    termination = Termination()

    def ask() -> None:
        termination.asked = True
        session.stop(StopReason.TERMINATED, f"the run was told to terminate; {how_to_go_on(session)}")

    with on_sigterm(ask) if listen else nullcontext():
        yield termination


@contextmanager
def on_sigterm(ask: Callable[[], None]) -> Iterator[None]:
    """Have a SIGTERM ask for the end, where Prefect would end the run at once, for as long as the context
    lasts. Does nothing outside the main thread."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    if not _listened(loop, ask):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _listened(loop: asyncio.AbstractEventLoop, ask: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(signal.SIGTERM, ask)
    except (ValueError, RuntimeError):  # not in the main thread
        return False
    return True
