"""A flow run that is told to terminate: its worker gives it some seconds, in which it closes its books."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect_imagine.batches.lane import StopReason
from prefect_imagine.batches.session import Session, observer
from prefect_imagine.tasks.control import how_to_go_on

logger = logging.getLogger(__name__)


class Termination:
    """A SIGTERM that came while a session ran. Prefect would end the run at once, wherever it is."""

    def __init__(self) -> None:
        self.asked = False

    def deliver(self) -> None:
        """Let Prefect have the signal: it knows whether the run was cancelled, or its worker is to end."""
        if self.asked:
            logger.info("the run was told to terminate, and its books are closed")
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def ending_in_order(session: Session) -> Iterator[Termination]:
    """Stop the session at a SIGTERM, for whoever calls `deliver` once its books are closed.

    Does nothing where somebody else looks after signals, or outside the main thread.
    """
    termination = Termination()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        termination.asked = True
        session.stop(StopReason.TERMINATED, f"the run was told to terminate; {how_to_go_on(session)}")

    before = signal.getsignal(signal.SIGTERM)
    if observer.get() is not None or not _listened(loop, ask):
        yield termination
        return
    try:
        yield termination
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _listened(loop: asyncio.AbstractEventLoop, ask: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(signal.SIGTERM, ask)
    except (ValueError, RuntimeError):  # not in the main thread
        return False
    return True
