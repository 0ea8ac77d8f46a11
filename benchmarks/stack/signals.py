"""What signals do to a stack that starts, runs and ends: they end it, and never by half."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_ALL = (signal.SIGINT, *_ENDING)
_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as an exit does, so that what it has started is ended, too."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    with _handled(_ENDING, leave):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal end the block: ending has bounds, and half of it would leave processes."""
    with _handled(_ALL, signal.SIG_IGN):
        yield


@contextmanager
def postponed() -> Iterator[None]:
    """Let signals wait until the block has ended: a process that is started and not noted would be left."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    with _handled(_ALL, note):
        yield
    for number in came:
        os.kill(os.getpid(), number)


@contextmanager
def _handled(signals: Sequence[signal.Signals], handler: _Handler | signal.Handlers) -> Iterator[None]:
    """Have signals handled so; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)
