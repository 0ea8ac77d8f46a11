"""A batch looked at while it runs: by its journal and its lease, which are only read, and only once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.lease import LEASE_SECONDS, Lease, LeaseRecord, Runner, who_runs
from prefect_imagine.batches.plan import Plan, write_plan
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.records import AnyItemRecord, Claim, Failed, Stored
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.usage import ItemCounts
from prefect_imagine.errors import StoreError
from prefect_imagine.reports.overview import Activity, Follower, Overview, overview_of
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import AT, REFUSED, UNKNOWN, created, intent, later, make_item, succeeded

PLAN = Plan("b", AT, tuple(make_item(index) for index in range(1, 11)))
RUNNER = Runner("me", "here", 1, 0.0)


class ReadOnly(MemoryStore):
    """Counts what is read, and refuses to be written to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.sealed = False

    def read(self, key: str) -> bytes | None:
        self.reads.append(key)
        return super().read(key)

    def now(self) -> float:
        if self.sealed:
            raise StoreError("read-only")
        return super().now()


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    found = Blocking(patience=5.0)
    yield found
    found.close()


def claim(token: str = "me", seconds: float = 0) -> Claim:
    return Claim(owner=token, host="here", at=later(seconds))


def stored(item: int, seconds: float = 0) -> Stored:
    return Stored(item=item, at=later(seconds), outputs=())


def state_of(*records: Claim | AnyItemRecord) -> BatchState:
    state = BatchState()
    for each in records:
        state.apply(each)
    return state


def overview(state: BatchState, runner: Runner | None, now: datetime) -> Overview:
    activity = Activity(PLAN, state)
    return overview_of(activity.bill, [activity], () if runner is None else (runner,), now)


def test_every_item_is_counted_in_one_place() -> None:
    state = state_of(
        *(intent(2), created(2), stored(2)),
        *(intent(3), created(3)),
        *(intent(4), created(4), succeeded(4)),
        intent(5),
        *(intent(1), REFUSED),
        *(intent(6), UNKNOWN.model_copy(update={"item": 6})),
        *(intent(7), created(7), succeeded(7), Failed(item=7, at=AT, reason="gone", message="404")),
    )
    seen = overview(state, None, AT)
    assert seen.counts == ItemCounts(total=10, stored=1, under_way=3, planned=3, failed=2, unknown=1)
    assert (seen.open, seen.counts.unfinished) == (1, 6)


def test_the_rate_is_that_of_the_last_two_minutes_of_the_process_that_runs_it() -> None:
    state = state_of(
        *(intent(1, -300), created(1), stored(1, -290), claim()),
        *(intent(2, 5), created(2), stored(2, 10), intent(3, 6), created(3), intent(4, 8)),
    )
    early = overview(state, RUNNER, later(30))
    assert (early.since, early.creates_per_minute) == (AT, 4.0)
    assert early.seconds_left == pytest.approx(8 * 30)
    late = overview(state, RUNNER, later(600))
    assert (late.creates_per_minute, late.seconds_left) == (0.0, None)
    by_another_clock = overview(state, RUNNER, AT - timedelta(seconds=9))
    assert by_another_clock.creates_per_minute > 0


@pytest.mark.parametrize("runner", [None, Runner("other", "there", 2, 0.0)])
def test_nothing_is_said_of_the_rate_of_a_process_that_has_not_written_yet(runner: Runner | None) -> None:
    state = state_of(claim(), intent(1), created(1), stored(1))
    seen = overview(state, runner, later(30))
    assert seen.runners == (() if runner is None else (runner,))
    assert (seen.since, seen.creates_per_minute, seen.seconds_left) == (None, 0, None)


def test_what_the_processes_of_a_fleet_do_adds_up() -> None:
    own = state_of(claim(), intent(1, 5), created(1), stored(1, 10))
    others = state_of(claim("other", 10), intent(2, 20), created(2), stored(2, 25), intent(3, 20), created(3))
    shards = [Activity(PLAN, own), Activity(PLAN, others)]
    runners = (RUNNER, Runner("other", "there", 2, 3.0))
    bill = Bill.total("b", [each.bill for each in shards])
    seen = overview_of(bill, shards, runners, later(30))
    assert (seen.runners, seen.since, seen.creates_per_minute) == (runners, AT, 6.0)
    assert seen.seconds_left == pytest.approx(30 * bill.counts.unfinished / 2)


async def test_the_shards_of_a_fleet_are_looked_at_in_any_order(blocking: Blocking) -> None:
    store = MemoryStore()
    plans = [Plan("b", AT, (make_item(number),), number) for number in (1, 2, 3)]
    for plan in plans:
        write_plan(store, plan)
    owner = ProcessIdentity.me()
    await Lease(store, blocking, plans[2].path, owner).take(wait=False)
    journal = await Journal.open(store, blocking, plans[2].path, claim(owner.token))
    follower = Follower(store, "b")
    for _ in range(2):
        seen = follower.look(fleet=True)
        assert [each.token for each in seen.runners] == [owner.token]
        assert seen.since == AT
        await journal.append(intent(3))
    assert follower.look(fleet=True).open == 1


async def test_what_was_read_is_not_read_again(blocking: Blocking) -> None:
    store = ReadOnly()
    write_plan(store, PLAN)
    owner = ProcessIdentity.me()
    lease = Lease(store, blocking, "b", owner)
    await lease.take(wait=False)
    journal = await Journal.open(store, blocking, "b", claim(owner.token))
    follower = Follower(store, "b")
    assert follower.look().counts.planned == 10
    for item in range(1, 4):
        await journal.append(intent(item))
        await journal.append(created(item))
    store.reads.clear()
    assert follower.look().counts.under_way == 3
    assert len(store.reads) == 7  # six segments, and the one that is not there yet
    store.reads.clear()
    seen = follower.look()
    assert (seen.counts.under_way, seen.since) == (3, AT)
    assert [(each.pid, each.token) for each in seen.runners] == [(owner.pid, owner.token)]
    assert store.reads == ["b/journal/00000008.jsonl"]
    await lease.release()
    assert follower.look().runners == ()


def elsewhere(store: MemoryStore, *, age: float = 0.0, released: bool = False) -> None:
    owner = ProcessIdentity(token="theirs", host="elsewhere", boot="another boot", pid=7, started="1")
    data = LeaseRecord(owner=owner, released=released).model_dump_json().encode()
    store.files["b/lease.json"] = (data, 1, time.time() - age)


def test_a_process_elsewhere_runs_it_for_as_long_as_it_says_so() -> None:
    store = ReadOnly()
    assert who_runs(store, "b") is None
    elsewhere(store, age=LEASE_SECONDS - 5)
    found = who_runs(store, "b")
    assert found is not None
    assert (found.host, found.pid) == ("elsewhere", 7)
    assert 10 <= found.renewed < LEASE_SECONDS
    elsewhere(store, age=LEASE_SECONDS + 1)
    assert who_runs(store, "b") is None
    elsewhere(store, released=True)
    assert who_runs(store, "b") is None


def test_a_folder_that_may_only_be_read_can_be_looked_at() -> None:
    store = ReadOnly()
    elsewhere(store)
    store.sealed = True
    assert who_runs(store, "b") is not None
