"""A batch while somebody else runs it: where its items are, how fast they go, and who moves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_imagine.batches.journal import read_journal, segment_key
from prefect_imagine.batches.lease import Runner, who_runs
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.records import to_record, unwrap_line
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.batches.usage import outcome
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.clock import utc_now
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
        reading = read_journal(store, plan.batch_id)
        self.plan = plan
        self.state = reading.state
        self._store = store
        self._seq = reading.seq

    def look(self) -> Overview:
        """The batch at this moment."""
        runner = who_runs(self._store, self.plan.batch_id)
        self._read_on()
        return overview(self.plan, self.state, runner, utc_now())

    def _read_on(self) -> None:
        while data := self._store.read(segment_key(self.plan.batch_id, self._seq + 1)):
            self._seq += 1
            for line in data.splitlines():
                self._take(line)

    def _take(self, line: bytes) -> None:
        value = unwrap_line(line)
        if value is None or value.get("kind") == "segment":
            return
        try:
            self.state.apply(to_record(value))
        except ValueError as error:
            raise StoreError(str(error)) from error


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
