"""Shards that others run, read on segment by segment: they say what the whole journal says, and cost by what
is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_imagine.batches.plan import BatchItem, write_plan
from prefect_imagine.batches.reading import Entry, segment_key
from prefect_imagine.batches.records import Header, to_line
from prefect_imagine.billing.root import Unsettled, read_unsettled
from prefect_imagine.engine.history.followed_shard import FollowedShard
from prefect_imagine.engine.history.identity import RequestIdentity, request_identity
from prefect_imagine.engine.history.rivals import OpenCreate, open_creates
from tests.batches.memory_store import InterferedStore
from tests.batches.test_snapshots import histories
from tests.billing.test_ways import PLAN

PROVIDER = "imaginelab"


def identity(item: BatchItem) -> RequestIdentity:
    return request_identity(item.request, item.request.prompt)


class CountedStore(InterferedStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_keys: list[str] = []

    def read(self, key: str) -> bytes | None:
        self.read_keys.append(key)
        return super().read(key)


def write_segment(store: InterferedStore, seq: int, entries: Sequence[Entry]) -> None:
    lines = [to_line(entry) for entry in entries]
    header = to_line(Header(seq=seq, writer="other", lines=len(lines)))
    store.put_new(segment_key(PLAN.path, seq), b"".join([header, *lines]))


def shard(store: InterferedStore) -> Unsettled:
    found = read_unsettled(store, PLAN.batch_id, PLAN.shard)
    assert found is not None
    return found


def expected(found: Unsettled) -> tuple[dict[str, datetime | None], Counter[OpenCreate]]:
    own = [way for way in found.ways() if way.item.request.provider == PROVIDER]
    ids = {
        charge.id: None if way.state.unanswered else way.state.asked_at
        for way in own
        for charge in way.state.charges
    }
    creates = (
        create
        for way in own
        for create in open_creates(way.state, identity(way.item), way.item.request.fingerprint)
    )
    return ids, Counter(creates)


@settings(deadline=None, max_examples=100)
@given(entries=histories(), at_once=st.integers(1, 5))
def test_read_on_it_says_what_the_whole_journal_says(entries: list[Entry], at_once: int) -> None:
    store = CountedStore()
    write_plan(store, PLAN)
    write_segment(store, 1, entries[:1])
    followed = FollowedShard(shard(store), PROVIDER, identity)
    for number, start in enumerate(range(1, len(entries), at_once)):
        write_segment(store, number + 2, entries[start : start + at_once])
        followed.read_on(store)
        ids, creates = expected(shard(store))
        assert followed.ids == ids
        assert Counter(followed.creates) == creates


def test_a_look_reads_what_is_new_and_nothing_else() -> None:
    store = CountedStore()
    write_plan(store, PLAN)
    write_segment(store, 1, [])
    followed = FollowedShard(shard(store), PROVIDER, identity)
    for seq in (2, 3):
        write_segment(store, seq, [])
    store.read_keys.clear()
    assert followed.read_on(store), "nothing of it is final"
    assert store.read_keys == [segment_key(PLAN.path, seq) for seq in (2, 3, 4)]
    store.read_keys.clear()
    assert followed.read_on(store)
    assert store.read_keys == [segment_key(PLAN.path, 4)]
