"""What lies under a root costs by what is active, whatever was made there before."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from prefect_imagine.batches.index import (
    ACTIVE,
    DAY,
    INDEX,
    SETTLED,
    batches_since,
    ensure_index,
    put_mark,
    read_index,
    settle_batch,
)
from prefect_imagine.batches.plan import write_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import AnyItemRecord, Header, to_line
from prefect_imagine.batches.shards import FIRST
from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.billing.root import (
    Books,
    Settled,
    books_of,
    books_since,
    list_settled,
    take_stock,
)
from prefect_imagine.billing.settlement import Settlement, read_settlement
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.other_batches import OtherBatches, OtherJobs
from prefect_imagine.engine.maintenance import batches_to_cancel
from prefect_imagine.errors import StoreError
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Store, open_store
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import created, failed, intent, stored, succeeded
from tests.engine.engine_runs import Runs, numbered
from tests.engine.fake_provider import PROVIDER, plan_of
from tests.engine.surveyed import under_way

NOTHING = RequestIdentity("", None, "", None)
LONG_AGO = datetime(2025, 3, 1, 12, tzinfo=UTC)


def active_batches(store: Store) -> list[str]:
    return sorted(read_index(store).active)


def settled_since(store: Store, since: datetime) -> list[str]:
    return sorted(read_index(store).settled_since(since))


def write_batch(store: Store, batch_id: str, *records: AnyItemRecord, days: int = 0) -> None:
    """A batch of one item, as the first edition left it."""
    write_plan(store, plan_of("a kite", batch_id=batch_id))
    later = timedelta(days=days)
    moved = [record.model_copy(update=_moved(record, later)) for record in records]
    lines = [to_line(Header(seq=1, writer="w", lines=len(moved))), *map(to_line, moved)]
    store.put(segment_key(batch_id, 1), b"".join(lines))


def _moved(record: AnyItemRecord, later: timedelta) -> dict[str, datetime]:
    times = {name: getattr(record, name, None) for name in ("at", "provider_at")}
    return {name: time + later for name, time in times.items() if time is not None}


def settled_batch(store: Store, batch_id: str, days: int = 0) -> None:
    write_batch(store, batch_id, intent(), created(credits=5), succeeded(), stored(), days=days)


def stock_taken(store: Store, batch_id: str) -> Books | None:
    """The books of a batch's one shard, and it is listed where it has settled."""
    books = take_stock(store, batch_id, FIRST)
    if isinstance(books, Settlement):
        list_settled(store, batch_id, {FIRST: Settled(books.seq, books.last_create)})
    return books


def claims(store: Store, since: datetime) -> OtherJobs:
    return OtherBatches(store, "mine", lambda item: NOTHING, lambda: ()).jobs(PROVIDER, since)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


def test_an_old_root_gets_an_index_that_forgets_what_is_settled(memory: MemoryStore) -> None:
    for number in range(5):
        settled_batch(memory, f"night-{number}", days=number)
    write_batch(memory, "open", intent())
    ensure_index(memory)
    assert active_batches(memory) == [*(f"night-{number}" for number in range(5)), "open"]
    found = claims(memory, LONG_AGO - timedelta(days=1))
    assert (set(found.ids), [each.identity for each in found.creates]) == ({"j"}, [NOTHING])
    assert active_batches(memory) == ["open"]
    assert settled_since(memory, LONG_AGO + timedelta(days=2, hours=12)) == ["night-3", "night-4"]
    assert batches_since(memory, LONG_AGO + timedelta(days=3, hours=12)) == ["night-4", "open"]
    assert under_way(memory) == ["open"]


def test_a_batch_that_goes_on_is_not_what_its_settlement_said(memory: MemoryStore) -> None:
    settled_batch(memory, "b")
    ensure_index(memory)
    stock_taken(memory, "b")
    assert [type(each) for each in books_of(memory, "b")] == [Settlement]
    memory.put(segment_key("b", 2), (memory.read(segment_key("b", 1)) or b"").replace(b'"seq":1', b'"seq":2'))
    assert read_settlement(memory, "b") is None


def test_a_copied_folder_is_not_the_batch_that_it_was(memory: MemoryStore) -> None:
    settled_batch(memory, "b")
    ensure_index(memory)
    stock_taken(memory, "b")
    memory.put("c/settled.json", memory.read("b/settled.json") or b"")
    assert read_settlement(memory, "c") is None


def test_a_folder_that_is_no_batch_is_looked_at_once(memory: MemoryStore) -> None:
    memory.put("team/x.png", b"-")
    ensure_index(memory)
    assert claims(memory, LONG_AGO) == OtherJobs()
    assert active_batches(memory) == []


def test_an_unknown_fate_is_never_settled(memory: MemoryStore) -> None:
    write_batch(memory, "b", intent())
    ensure_index(memory)
    assert not isinstance(stock_taken(memory, "b"), Settlement)
    assert active_batches(memory) == ["b"]


def test_a_claim_removes_the_marks_of_earlier_claims_and_no_later_one(memory: MemoryStore) -> None:
    """One that wakes up late would else hide what its successor creates."""
    settled_batch(memory, "b")
    for claim in (2, 3, 2):
        put_mark(memory, "b", FIRST, claim)
    settle_batch(memory, "b", LONG_AGO, {FIRST: 2})
    assert [found.key for found in memory.list(ACTIVE)] == [f"{ACTIVE}b~00000003"]
    settle_batch(memory, "b", LONG_AGO, {FIRST: 3})
    assert active_batches(memory) == []


def test_a_batch_that_settles_again_shows_it_in_its_entry(memory: MemoryStore) -> None:
    """Also where it has created nothing since, so that the entry keeps its name."""
    settled_batch(memory, "b")
    seen = []
    for seq in (1, 2, 2):
        settle_batch(memory, "b", LONG_AGO, {FIRST: seq})
        [entry] = read_index(memory).entries.values()
        seen.append((memory.read(entry.key), entry.modified))
    assert len({key for key in memory.files if key.startswith(SETTLED)}) == 1
    (first, first_at), (second, second_at), (third, _) = seen
    assert first != second == third
    assert first_at < second_at


def test_a_batch_that_came_by_other_means_than_a_run_is_there(memory: MemoryStore) -> None:
    ensure_index(memory)
    write_batch(memory, "moved", intent())
    memory.put("moved/lease.json", b"{}")
    settled_batch(memory, "named")
    stock_taken(memory, "named")
    for key in list(memory.files):
        if key.startswith("named/"):
            memory.files[f"re{key}"] = memory.files.pop(key)
    found = claims(memory, LONG_AGO + timedelta(days=9))
    assert ([each.identity for each in found.creates], set(found.ids)) == ([NOTHING], {"j"})
    long_before = LONG_AGO - timedelta(days=1)
    assert batches_since(memory, long_before) == ["moved", "named", "renamed"]
    assert under_way(memory) == ["moved"]
    assert batches_to_cancel(memory, None, every=True) == ["moved"]


def test_old_batches_that_nobody_has_looked_at_cost_a_report_no_reading(memory: MemoryStore) -> None:
    for number in range(20):
        settled_batch(memory, f"night-{number}")
    for key, (data, version, written) in list(memory.files.items()):
        memory.files[key] = (data, version, written - 60 * DAY)
    ensure_index(memory)
    counted: Any = CountedStore(memory)
    assert list(books_since(counted, datetime.now(UTC) - timedelta(days=14))) == []
    assert counted.calls["read"] == 0


def test_a_neighbour_that_may_only_be_read_is_read(memory: MemoryStore) -> None:
    settled_batch(memory, "theirs")
    ensure_index(memory)

    def refused(key: str, data: bytes, media_type: str = "") -> None:
        raise StoreError("this key may not write here")

    memory.put = refused  # type: ignore[method-assign]
    found = claims(memory, LONG_AGO)
    assert (set(found.ids), found.incomplete) == ({"j"}, False)


def test_a_provider_s_clock_that_is_behind_leaves_no_batch_out_of_its_day(memory: MemoryStore) -> None:
    asked = intent().model_copy(update={"provider_at": LONG_AGO - timedelta(hours=14)})
    write_batch(memory, "b", asked, created(credits=5), succeeded(), stored())
    ensure_index(memory)
    stock_taken(memory, "b")
    assert batches_since(memory, LONG_AGO.replace(hour=0)) == ["b"]


def test_a_settlement_s_days_are_those_of_the_journal_in_every_time_zone(memory: MemoryStore) -> None:
    for number in range(4):
        settled_batch(memory, f"night-{number}", days=number)
    write_batch(memory, "refused", intent(), created(credits=3), failed(credits=3, refund="none"), days=2)

    def bill(zone: str) -> list[tuple[object, ...]]:
        ledger = Ledger((LONG_AGO + timedelta(days=1)).date(), ZoneInfo(zone))
        for found in books_since(memory, LONG_AGO - timedelta(days=9)):
            if isinstance(found, Settlement):
                ledger.add_settled(found)
            else:
                ledger.add(found.plan, found.state)
        return [tuple(line.model_dump().values()) for line in (*ledger.by_model, *ledger.by_label)]

    zones = ("UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "America/St_Johns")
    before = {zone: bill(zone) for zone in zones}
    ensure_index(memory)
    for name in active_batches(memory):
        assert isinstance(stock_taken(memory, name), Settlement)
    assert {zone: bill(zone) for zone in zones} == before


class CountedStore:
    """Counts the calls of another store, by kind."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.calls[name] += 1
            return found(*args, **kwargs)

        return counted


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "folder":
        return str(tmp_path / "root")
    server: S3Server = request.getfixturevalue("aws")
    return f"s3://{server.make_bucket()}/art"


@pytest.fixture
def root(where: str) -> Iterator[Store]:
    with closing(open_store(where)) as store:
        yield store


def test_settled_batches_outside_the_window_cost_nothing(root: Store) -> None:
    for number in range(30):
        settled_batch(root, f"night-{number:02}", days=number)
    write_batch(root, "open", intent(), days=29)
    ensure_index(root)
    for name in active_batches(root):
        stock_taken(root, name)

    counted: Any = CountedStore(root)
    found = claims(counted, LONG_AGO + timedelta(days=28, hours=12))
    assert len(found.creates) == 1
    reads = counted.calls["read"] + counted.calls["head"]
    assert counted.calls["list"] <= 2 + 2, "the index, and the one active batch's snapshots and segments"
    assert counted.calls["folders"] == 1 + 2, "the root, and the shards of one settled batch and one active"
    assert reads <= 2 + 4, "one settled batch, one active"

    counted.calls.clear()
    books = list(books_since(counted, LONG_AGO - timedelta(days=1)))
    assert len(books) == 31
    assert counted.calls["list"] <= 2 + 3
    settled = sum(isinstance(each, Settlement) for each in books)
    assert counted.calls["read"] + counted.calls["head"] <= 2 * settled + 3


async def test_a_run_lists_its_batch_as_long_as_it_is_not_settled(
    sandbox: RunningSandbox, where: str
) -> None:
    with closing(open_store(where)) as store:
        runs = Runs(sandbox, store)
        rows = numbered("imaginelab", 4)
        first = await runs.run(rows, max_credits=10)
        batch_id = first.usage.batch_id
        assert (active_batches(store), settled_since(store, LONG_AGO)) == ([batch_id], [])
        assert store.head(INDEX) is not None
        await runs.run(rows)
        assert (active_batches(store), settled_since(store, LONG_AGO)) == ([], [batch_id])
        settlement = read_settlement(store, batch_id)
        assert settlement is not None
        assert settlement.usage.stored == 4
        assert len(settlement.jobs["imaginelab"]) == 4
        written = json.loads(store.read(f"{batch_id}/usage.json") or b"")
        assert settlement.usage.charged == written["charged"]
        runs.check()
