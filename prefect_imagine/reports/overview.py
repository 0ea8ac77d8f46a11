"""A batch while somebody else runs it: where its items are, how fast they go, and who moves them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_imagine.batches.lease import Runner, who_runs
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.reading import Entry, read_journal, read_on
from prefect_imagine.batches.records import Adopted, Claim, Created, Stored
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.usage import ItemCounts
from prefect_imagine.clock import utc_now
from prefect_imagine.stores import Store

RATE_WINDOW = timedelta(minutes=2)
_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Overview:
    """A batch at one moment.

    Attributes:
        open: of the items under way, those that were sent and not answered.
        runner: the process that runs it.
        since: when that process began, by its own clock.
        creates_per_minute: over the last two minutes of that process.
        seconds_left: if what is unfinished is stored as fast as in those minutes; `None` where nothing was.
    """

    counts: ItemCounts
    open: int = 0
    runner: Runner | None = None
    since: datetime | None = None
    creates_per_minute: float = 0.0
    seconds_left: float | None = None


class Activity:
    """Where a batch's items are and how fast they go, kept as records come."""

    def __init__(self, plan: Plan, state: BatchState) -> None:
        self.bill = Bill.of(plan, state)
        self._plan = plan
        self._state = state
        states = [state[item.index] for item in plan.items]
        self._created = deque(sorted(each.intent_at for each in states if each.id and each.intent_at))
        self._stored = deque(sorted(each.stored_at for each in states if each.stored_at))

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in what has been written since."""
        for entry in entries:
            if isinstance(entry, Claim):
                continue
            known = self._state[entry.item]
            self.bill.update(self._plan.item(entry.item), known)
            if isinstance(entry, Created | Adopted) and known.intent_at is not None:
                self._created.append(known.intent_at)
            elif isinstance(entry, Stored):
                self._stored.append(entry.at)

    def overview(self, runner: Runner | None, now: datetime) -> Overview:
        """The batch at a moment, by its journal and its lease."""
        counts, claim = self.bill.counts, self._state.claim
        if runner is None or claim is None or claim.owner != runner.token:
            return Overview(counts, self.bill.open, runner)
        start = max(now - RATE_WINDOW, claim.at)
        minutes = max(now - start, _SHORTEST) / timedelta(minutes=1)
        created, stored = _since(start, self._created), _since(start, self._stored)
        left = 60 * minutes * counts.unfinished / stored if stored else None
        return Overview(counts, self.bill.open, runner, claim.at, created / minutes, left)


class Follower:
    """Looks at a batch again and again, and reads what its journal says only once. Writes nothing."""

    def __init__(self, store: Store, plan: Plan) -> None:
        """Raises `StoreError`, as does `look`."""
        self.plan = plan
        self._store = store
        self._reading = read_journal(store, plan.batch_id)
        self._activity = Activity(plan, self._reading.state)

    @property
    def state(self) -> BatchState:
        """Where the items stood when last looked at."""
        return self._reading.state

    def look(self) -> Overview:
        """The batch at this moment."""
        runner = who_runs(self._store, self.plan.batch_id)
        self._activity.take(read_on(self._store, self.plan.batch_id, self._reading))
        return self._activity.overview(runner, utc_now())


def _since(start: datetime, times: deque[datetime]) -> int:
    """How many are not older; those that are will never be asked for again."""
    while times and times[0] < start:
        times.popleft()
    return sum(1 for time in times if time >= start)
