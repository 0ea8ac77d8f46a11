"""A batch while somebody else runs it: where its items are, how fast they go, and who moves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_imagine.batches.lease import Runner, who_runs
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.reading import read_journal, read_on
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.billing.usage import outcome
from prefect_imagine.clock import utc_now
from prefect_imagine.stores import Store

RATE_WINDOW = timedelta(minutes=2)
_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Counts:
    """A batch's items by where they are. Under way: created, and not yet stored. Open: sent, and the answer
    is not known. Failed: also what is paid for and could not be stored for now."""

    total: int
    stored: int
    under_way: int
    open: int
    planned: int
    failed: int
    unknown: int

    @property
    def unfinished(self) -> int:
        """How many may still become anything."""
        return self.under_way + self.open + self.planned


@dataclass(frozen=True)
class Overview:
    """A batch at one moment.

    Attributes:
        runner: the process that runs it.
        since: when that process began, by its own clock.
        creates_per_minute: over the last two minutes of that process.
        seconds_left: if what is unfinished is stored as fast as in those minutes; `None` where nothing was.
    """

    counts: Counts
    runner: Runner | None = None
    since: datetime | None = None
    creates_per_minute: float = 0.0
    seconds_left: float | None = None


class Follower:
    """Looks at a batch again and again, and reads what its journal says only once. Writes nothing."""

    def __init__(self, store: Store, plan: Plan) -> None:
        """Raises `StoreError`, as does `look`."""
        self.plan = plan
        self._store = store
        self._reading = read_journal(store, plan.batch_id)

    @property
    def state(self) -> BatchState:
        """Where the items stood when last looked at."""
        return self._reading.state

    def look(self) -> Overview:
        """The batch at this moment."""
        runner = who_runs(self._store, self.plan.batch_id)
        read_on(self._store, self.plan.batch_id, self._reading)
        return overview(self.plan, self.state, runner, utc_now())


def overview(plan: Plan, state: BatchState, runner: Runner | None, now: datetime) -> Overview:
    """A batch at one moment, by its journal and its lease."""
    counts = count(plan, state)
    claim = state.claim
    if runner is None or claim is None or claim.owner != runner.token:
        return Overview(counts, runner)
    start = max(now - RATE_WINDOW, claim.at)
    minutes = max(now - start, _SHORTEST) / timedelta(minutes=1)
    states = [state[item.index] for item in plan.items]
    created = _since(start, (known.intent_at for known in states if known.id is not None))
    stored = _since(start, (known.stored_at for known in states))
    left = 60 * minutes * counts.unfinished / stored if stored else None
    return Overview(counts, runner, claim.at, created / minutes, left)


def count(plan: Plan, state: BatchState) -> Counts:
    """Where a batch's items are."""
    found = Counter(_place(state[item.index]) for item in plan.items)
    return Counts(total=len(plan.items), **{name: found[name] for name in _PLACES})


_PLACES = ("stored", "under_way", "open", "planned", "failed", "unknown")
_UNFINISHED = {Phase.OPEN: "open", Phase.CREATED: "under_way", Phase.FINISHED: "under_way"}


def _place(known: ItemState) -> str:
    ended = outcome(known)
    return _UNFINISHED.get(known.phase, "planned") if ended == "planned" else ended


def _since(start: datetime, times: Iterable[datetime | None]) -> int:
    return sum(1 for time in times if time is not None and time >= start)
