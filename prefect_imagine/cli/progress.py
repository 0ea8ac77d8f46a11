"""Watching a run from the terminal: a progress bar, and signals that end the run gently."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prefect_imagine.batches.stops import StopReason
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli.output import errors, say
from prefect_imagine.engine.observer import Progress as Far
from prefect_imagine.engine.session import Session
from prefect_imagine.errors import ImagineError
from prefect_imagine.reports.summary import INTERRUPTED, TERMINATED, Summary

REFRESH_SECONDS = 0.5
TELL_SECONDS = 10.0
SIGNALS = {signal.SIGINT: StopReason.INTERRUPTED, signal.SIGTERM: StopReason.TERMINATED}
STOPPED = {StopReason.INTERRUPTED: INTERRUPTED, StopReason.TERMINATED: TERMINATED}
"""Exit codes of runs that a signal ended."""


def stopped_text(reason: StopReason, batch_id: str, root: str) -> str:
    """That a run was told to stop, and the command that resumes its batch."""
    resume = f"prefect-imagine resume {shlex.quote(batch_id)} --output {shlex.quote(root)}"
    return f"{reason}; go on with: {resume}"


def _note(now: Far) -> str:
    failed = now.counts.failed + now.counts.unknown
    return f"{now.running} under way, {failed} failed, {now.credits} credits"


class TerminalObserver:
    """Shows a run's progress where there is a terminal, and keeps what it has to say at its end."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.summary: Summary | None = None
        self.usage: Usage | None = None
        self.stop: StopReason | None = None
        self.failure: ImagineError | None = None
        self._bar: asyncio.Task[None] | None = None

    def opened(self, session: Session) -> None:
        """Begin to show progress."""
        self.session = session
        self.listen()  # Prefect has put its own SIGTERM handler in place, which would tear the loop down
        if self.stop is not None:
            session.stop(self.stop, "stopped before it began")
        say(f"batch {session.batch_id}: {session.progress().counts.wanted} items, to {session.store.address}")
        show = self._show if sys.stderr.isatty() else self._tell
        self._bar = asyncio.ensure_future(show(session))

    def closed(self, summary: Summary, usage: Usage) -> None:
        """Keep the end."""
        self.summary = summary
        self.usage = usage
        if self._bar is not None:
            self._bar.cancel()

    def failed(self, error: ImagineError) -> None:
        """Keep what went wrong."""
        self.failure = error
        if self._bar is not None:
            self._bar.cancel()

    def listen(self) -> None:
        """End the run gently on SIGINT and SIGTERM; at once when told twice, or before it has begun."""
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        for number, reason in SIGNALS.items():
            loop.add_signal_handler(number, self._asked, reason, main)

    def listen_alone(self) -> None:
        """Meet signals without the event loop, which is about to close: it would let go of what they wake it
        by before it lets go of them."""
        self.session = None
        loop = asyncio.get_running_loop()
        for number, reason in SIGNALS.items():
            loop.remove_signal_handler(number)
            signal.signal(number, lambda *_, reason=reason: self._asked(reason, None))

    def _asked(self, reason: StopReason, main: asyncio.Task[Any] | None) -> None:
        if self.stop is not None and (self.session is not None or reason is StopReason.INTERRUPTED):
            # Whatever is under way is in the journal: leaving it loses nothing and pays nothing twice.
            os._exit(STOPPED[self.stop])
        if self.stop is not None:
            return  # Prefect repeats a SIGTERM that it has seen
        self.stop = reason
        say("stopping: nothing more is created; again to leave at once")
        if self.session is not None:
            batch, root = self.session.batch_id, self.session.store.address
            self.session.stop(reason, stopped_text(reason, batch, root))
        elif main is not None:
            main.cancel()

    async def _tell(self, session: Session) -> None:
        """A line now and then, for a log."""
        told = ""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            now = session.progress()
            line = f"{now.counts.stored} of {now.counts.wanted} stored, {_note(now)}"
            if line != told:
                say(f"{datetime.now():%H:%M:%S} {line}")
            told = line

    async def _show(self, session: Session) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with suppress(asyncio.CancelledError), Progress(*columns, console=errors) as bar:
            shown = bar.add_task("stored", total=session.progress().counts.wanted, note="")
            try:
                while True:
                    now = session.progress()
                    bar.update(shown, completed=now.counts.stored, note=_note(now))
                    await asyncio.sleep(REFRESH_SECONDS)
            finally:
                bar.update(shown, completed=session.progress().counts.stored)
