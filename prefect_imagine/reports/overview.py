"""A batch while somebody else runs it: where its items are, how fast they go, and who moves them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_imagine.batches.lease import Runner, who_runs
from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reading import Entry, Reading, read_journal, read_on
from prefect_imagine.batches.records import Adopted, Created, ItemRecord, Stored
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.settlement import read_settlement
from prefect_imagine.billing.usage import ItemCounts
from prefect_imagine.clock import utc_now
from prefect_imagine.reports.position import Position, position_of
from prefect_imagine.stores import Store

RATE_WINDOW = timedelta(minutes=2)
_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Overview:
    """A batch at one moment.

    Attributes:
        open: of the items under way, those that were sent and not answered.
        runners: the processes that run it: one, or those of a fleet.
        since: when the first of them began, by its own clock.
        creates_per_minute: over the last two minutes of all of them.
        seconds_left: if what is unfinished is stored as fast as in those minutes; `None` where nothing was.
    """

    counts: ItemCounts
    open: int = 0
    runners: tuple[Runner, ...] = ()
    since: datetime | None = None
    creates_per_minute: float = 0.0
    seconds_left: float | None = None


class Activity:
    """Where a shard's items are and how fast they go, kept as records come."""

    def __init__(self, plan: Plan, state: BatchState) -> None:
        self.bill = Bill.of(plan, state)
        self._plan = plan
        self._state = state
        states = [way.state for way in Shard(plan, state).ways()]
        self._created = deque(sorted(each.intent_at for each in states if each.id and each.intent_at))
        self._stored = deque(sorted(each.stored_at for each in states if each.stored_at))

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in what has been written since."""
        for entry in entries:
            if not isinstance(entry, ItemRecord):
                continue
            known = self._state[entry.item]
            self.bill.update(self._plan.item(entry.item), known)
            if isinstance(entry, Created | Adopted) and known.intent_at is not None:
                self._created.append(known.intent_at)
            elif isinstance(entry, Stored):
                self._stored.append(entry.at)

    def begun_by(self, tokens: Collection[str]) -> datetime | None:
        """When one of the processes with these tokens began to run the shard; `None` where none does."""
        claim = self._state.claim
        return claim.at if claim is not None and claim.owner in tokens else None

    def created_since(self, start: datetime) -> int:
        """Items created since then; what was before will not be asked for again."""
        return _since(start, self._created)

    def stored_since(self, start: datetime) -> int:
        """The same of those stored."""
        return _since(start, self._stored)


def overview_of(
    bill: Bill, shards: Sequence[Activity], runners: tuple[Runner, ...], now: datetime
) -> Overview:
    """A batch at a moment, by its bill, by the shards that are not settled, and by who runs any of them."""
    counts = bill.counts
    tokens = {each.token for each in runners}
    own = [(each, begun) for each in shards if (begun := each.begun_by(tokens)) is not None]
    if not own:
        return Overview(counts, bill.open, runners)
    begun = min(begun for _, begun in own)
    start = max(now - RATE_WINDOW, begun)
    minutes = max(now - start, _SHORTEST) / timedelta(minutes=1)
    created = sum(each.created_since(start) for each, _ in own)
    stored = sum(each.stored_since(start) for each, _ in own)
    left = 60 * minutes * counts.unfinished / stored if stored else None
    return Overview(counts, bill.open, runners, begun, created / minutes, left)


class _Followed:
    """A shard that is not settled."""

    def __init__(self, plan: Plan, reading: Reading) -> None:
        self.plan = plan
        self.reading = reading
        self.activity = Activity(plan, reading.state)


class Follower:
    """Looks at a batch again and again, and reads what its journals say only once. Writes nothing."""

    def __init__(self, store: Store, batch_id: str) -> None:
        self.batch_id = batch_id
        self._store = store
        self._settled: dict[int, Bill] = {}
        self._followed: dict[int, _Followed] = {}

    def look(self, *, fleet: bool = False) -> Overview:
        """The batch at this moment. Raises `StoreError`.

        Args:
            fleet: whether several processes may run it, and begin with its shards in any order.
        """
        runners: dict[str, Runner] = {}
        begun = True
        for shard in shard_numbers(self._store, self.batch_id):
            if shard in self._settled or (shard in self._followed and not (begun or fleet)):
                continue
            if fleet or (begun and not runners):
                runner = who_runs(self._store, shard_path(self.batch_id, shard))
                runners |= {} if runner is None else {runner.token: runner}
            self._read_on(shard)
            known = self._followed.get(shard)
            # One process that runs the batch begins with no shard before those in front of it.
            begun = begun and (known is None or known.reading.seq > 0)
        return overview_of(self._bill, self._activities, tuple(runners.values()), utc_now())

    def position(self) -> Position:
        """Where the batch stood at the last look. Raises `StoreError`."""
        held = {shard: Shard(each.plan, each.reading.state) for shard, each in self._followed.items()}
        return position_of(self._store, self.batch_id, held)

    def _read_on(self, shard: int) -> None:
        path = shard_path(self.batch_id, shard)
        known = self._followed.get(shard)
        if known is not None:
            known.activity.take(read_on(self._store, path, known.reading))
        if known is None or not known.activity.bill.counts.unfinished:
            settlement = read_settlement(self._store, path)
            if settlement is not None:
                self._settled[shard] = settlement.bill
                self._followed.pop(shard, None)
                return
        if known is None:
            plan = read_plan(self._store, self.batch_id, shard)
            if plan is not None:
                self._followed[shard] = _Followed(plan, read_journal(self._store, path))

    @property
    def _activities(self) -> list[Activity]:
        return [each.activity for each in self._followed.values()]

    @property
    def _bill(self) -> Bill:
        bills = [*self._settled.values(), *(each.bill for each in self._activities)]
        return Bill.total(self.batch_id, bills)


def _since(start: datetime, times: deque[datetime]) -> int:
    """How many are not older; those that are will never be asked for again."""
    while times and times[0] < start:
        times.popleft()
    return sum(1 for time in times if time >= start)
