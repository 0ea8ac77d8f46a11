"""What people see of a run while it lasts: a progress artifact, and an event for each generation that
fails."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.observer import Progress
from prefect_imagine.engine.session import Session
from prefect_imagine.reports.durations import duration_text
from prefect_imagine.tasks.artifacts import PROGRESS_KEY
from prefect_imagine.tasks.events import announce_failure

logger = logging.getLogger(__name__)

NOTHING_PAUSED: Mapping[str, str] = {}
EVERY_SECONDS = 5.0
LAST_SECONDS = 60.0
STOPPED_SECONDS = 10.0
RATE_SECONDS = 120.0


@asynccontextmanager
async def watched(session: Session) -> AsyncIterator[None]:
    """Keep the progress artifact of a run up to date, and announce its failures, while the context lasts.

    Looks every five seconds, whatever the size of the batch. Prefect being away never stops a batch.
    """
    live = _Live(session)
    watching = asyncio.create_task(live.keep_looking())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        # A run that somebody wants to end waits less for a server that is busy.
        patience = STOPPED_SECONDS if session.stopped.is_set() else LAST_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await live.look(last=True)


class _Live:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._batch_id = session.batch_id
        self._told = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._artifact: UUID | None = None
        self._complained = False

    async def keep_looking(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self, *, last: bool = False) -> None:
        try:
            self._tell_failures()
            await self._show(self._session.progress(), last=last)
        except Exception as error:  # Prefect's errors here are many, and none may stop a paid batch
            if not self._complained:
                logger.warning("batch %s: progress cannot be shown: %s", self._batch_id, error)
            self._complained = True

    async def _show(self, now: Progress, *, last: bool) -> None:
        percent = 100.0 * _done(now) / max(1, now.counts.wanted)
        pauses = {name: command.given for name, command in self._session.desk.pauses.items()}
        text = describe(self._batch_id, now, self._per_minute(now), pauses, ended=last)
        if self._artifact is None:
            self._artifact = await acreate_progress_artifact(percent, PROGRESS_KEY, text)
        else:
            await aupdate_progress_artifact(self._artifact, percent, text)

    def _tell_failures(self) -> None:
        for item, state in self._session.books.failures[self._told :]:
            announce_failure(self._batch_id, item, state)
            self._told += 1

    def _per_minute(self, now: Progress) -> float:
        """Items done a minute, over the last two minutes."""
        self._seen.append((boot_seconds(), _done(now)))
        while self._seen[-1][0] - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        seconds = self._seen[-1][0] - self._seen[0][0]
        return 60 * (self._seen[-1][1] - self._seen[0][1]) / seconds if seconds > 0 else 0.0


def _plain(text: str) -> str:
    """What people have written, as no Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in text)


def _done(now: Progress) -> int:
    return now.counts.stored + now.counts.failed + now.counts.unknown


def describe(
    batch_id: str,
    now: Progress,
    per_minute: float,
    pauses: Mapping[str, str] = NOTHING_PAUSED,
    *,
    ended: bool = False,
) -> str:
    """A run's progress as Markdown: counts, rate, credits, and the time left at this rate, unless the run has
    ended.

    Args:
        pauses: the providers that are paused, with by whom, when and why.
    """
    counts = now.counts
    left = counts.wanted - _done(now)
    places = {"under way": now.running, "failed": counts.failed, "unknown": counts.unknown, "left": left}
    others = [f"{count} {name}" for name, count in places.items() if count]
    lines = [
        f"**{batch_id}**: {counts.stored} of {counts.wanted} stored{''.join(f', {each}' for each in others)}",
        f"{now.credits} credits so far (charged, estimated and possibly charged)",
    ]
    lines += [f"{provider} is paused {_plain(given)}" for provider, given in pauses.items()]
    if ended:
        lines.append("This run has ended.")
    elif per_minute > 0 and left:
        lines.append(f"{per_minute:.1f} a minute, about {duration_text(round(60 * left / per_minute))} left")
    return "\n\n".join(lines)
