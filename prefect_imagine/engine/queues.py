"""What a provider's run has to do next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from prefect_imagine.engine.cadence import RunningJob
from prefect_imagine.engine.history.attempts import OpenAttempt
from prefect_imagine.providers.models import Output


@dataclass
class Queues:
    """The items of a run by what is to be done with them.

    Attributes:
        to_create: items to create, in order.
        open: by item, attempts whose outcome is not known.
        running: jobs under way, by the provider's id.
        overdue: jobs that the run does not wait for any more, and takes in all the same if they end while it
            follows others.
        to_store: finished items, in the order of their completion.
        inline: by item, the outputs that came whole with an answer, until they are stored.
    """

    to_create: deque[int] = field(default_factory=deque)
    open: dict[int, OpenAttempt] = field(default_factory=dict)
    running: dict[str, RunningJob] = field(default_factory=dict)
    overdue: dict[str, RunningJob] = field(default_factory=dict)
    to_store: deque[int] = field(default_factory=deque)
    inline: dict[int, tuple[Output, ...]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.to_create or self.open or self.running or self.to_store)

    def occupied(self, indices: range, *, open: bool, running: bool, outputs: bool) -> bool:
        """Whether any of these items is in a queue whose turn may come: as an attempt that is open, with its
        job, or with its outputs."""
        attempts = self.open if open else ()
        jobs = (each.item for each in self.running.values()) if running else ()
        to_store = (*self.to_store, *self.inline) if outputs else ()
        return any(index in indices for index in (*attempts, *jobs, *to_store))

    def forget(self, indices: range) -> None:
        """Leave these items out of all queues."""
        for queue in (self.to_create, self.to_store):
            kept = [index for index in queue if index not in indices]
            queue.clear()
            queue.extend(kept)
        for by_job in (self.running, self.overdue):
            for job in [job for job, each in by_job.items() if each.item in indices]:
                del by_job[job]
        for index in indices:
            self.open.pop(index, None)
            self.inline.pop(index, None)
