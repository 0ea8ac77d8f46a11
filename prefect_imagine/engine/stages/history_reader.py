"""Reads what a provider shows of jobs whose creates were not answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.history.attempts import (
    LARGEST_SKEW,
    LONGEST_DELAY,
    Known,
    OpenAttempt,
    Window,
    behind_at_most,
    covers,
    skew_of,
    window_of,
)
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.providers.models import Generation, HistoryPage, Mark


@dataclass(frozen=True)
class Reading:
    """One read of the history.

    Attributes:
        begun: boot clock.
        skew: by how much the records' clock is ahead of the provider's `Date`; `None` if that is unknown.
        covered: whether it shows all jobs of its window.
        witnessed: whether it had to show jobs of our own: a history that had not may be one that shows none.
    """

    begun: float
    rows: tuple[Generation, ...]
    window: Window
    skew: timedelta | None
    covered: bool
    witnessed: bool

    def asked_since(self, longest_create: float) -> datetime:
        """No job that may be that of one of the attempts was asked for earlier, by the provider's clock.

        Args:
            longest_create: seconds from an intent to its answer.
        """
        if any(row.created_at is None for row in self.rows):
            return datetime.fromtimestamp(0, UTC)  # one that shows no time may be of any
        ahead = LARGEST_SKEW if self.skew is None else self.skew
        return self.window.doubtful_from - ahead - max(LONGEST_DELAY, timedelta(seconds=longest_create))


class HistoryReader:
    """Reads a provider's history for one run: its list, or by the ids that the client has chosen."""

    def __init__(self, run: ProviderRun, blocking: Blocking) -> None:
        self._run = run
        self._blocking = blocking

    async def read(self, attempts: Sequence[OpenAttempt], prompt: str | None) -> Reading:
        """The history from its newest page back to where it covers all of these attempts.

        Args:
            prompt: the one that the rows may be narrowed to.

        Raises:
            ProviderError: it cannot be read.
        """
        run = self._run
        begun = boot_seconds()
        by_id = run.client.capabilities.mark is Mark.CLIENT_ID
        known = self._one_known() if by_id else self._known(attempts, prompt)
        asked_at: dict[str, datetime] = {}
        pages: list[HistoryPage] = []

        def weighed() -> tuple[Window, timedelta | None, bool]:
            rows = [row for each in pages for row in each.generations]
            behind = behind_at_most(rows, run.client.clock.now())
            skew = skew_of(rows, asked_at)
            window = window_of(attempts, skew, run.timing.margin, behind)
            return window, skew, covers(pages, window.doubtful_from, known)

        covered, skew = False, None
        window = window_of(attempts, None, run.timing.margin)
        if by_id:
            shown = self._chosen(attempts, known)
        else:
            shown = run.client.history(since=window.doubtful_from, prompt=prompt)
        async for page in shown:
            pages.append(page)
            asked_at.update(run.jobs.asked_at_of(page.generations))
            window, skew, covered = await self._blocking.once(weighed)
            if covered:
                break
        rows = tuple(row for page in pages for row in page.generations)
        return Reading(begun, rows, window, skew, covered, witnessed=bool(known.due or known.earlier))

    def _known(self, attempts: Sequence[OpenAttempt], prompt: str | None) -> Known:
        """Our own jobs that a history must show, or of one prompt's rows those of that prompt."""
        run = self._run
        rank = min(attempt.known_before for attempt in attempts)
        first = min(attempt.provider_at for attempt in attempts)
        due = {
            job: asked_at
            for job, item, asked_at in run.jobs.known_for(run.timing.settle)
            if prompt is None or run.client.wire_prompt(item.request) == prompt
        }
        return Known(
            before={job for job, place in run.jobs.order.items() if place < rank},
            due={job for job, asked_at in due.items() if asked_at >= first},
            earlier={job for job, asked_at in due.items() if asked_at < first},
        )

    def _one_known(self) -> Known:
        """One of our own jobs that must be shown, where each has to be looked up."""
        due = self._run.jobs.known_for(self._run.timing.settle)
        return Known(due=[job for job, _, _ in islice(due, 1)])

    async def _chosen(self, attempts: Sequence[OpenAttempt], known: Known) -> AsyncIterator[HistoryPage]:
        """The jobs under the ids that these attempts have chosen, and one that the API must show."""
        client = self._run.client
        marks = {client.chosen_id(attempt.correlator): attempt.correlator for attempt in attempts}
        found = await client.poll([*marks, *known.due])
        rows = tuple(row.model_copy(update={"correlator": marks.get(job)}) for job, row in found.items())
        yield HistoryPage(generations=rows, end=True)
