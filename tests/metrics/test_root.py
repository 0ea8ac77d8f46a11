"""A root that is read on tells what one that is read anew tells, and counts nothing twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from prefect_imagine.batches.index import ACTIVE, SETTLED, active_claims, ensure_index
from prefect_imagine.batches.plan import plan_key
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import Retry, Withdrawn, seal
from prefect_imagine.billing.settlement import settlement_key
from prefect_imagine.errors import StoreError
from prefect_imagine.metrics.root import KnownRoot, Sample
from prefect_imagine.stores import Store
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import UNKNOWN, created, failed, stored, succeeded
from tests.engine.test_collect import watching
from tests.metrics.journals import AT, Writer, credits, intent, places, told


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    ensure_index(store)
    return store


def root_of(store: Store) -> KnownRoot:
    return KnownRoot(store, now=lambda: AT + timedelta(seconds=100))


def anew(store: Store) -> Sample:
    """What one tells that has just begun."""
    root = root_of(store)
    try:
        return root.look()
    finally:
        root.close()


def batch(store: Store, name: str = "b") -> Writer:
    """A settled batch: one item stored, one failed, and one withdrawn."""
    writer = Writer.of(store, name)
    writer.claim()
    for item in (1, 2):
        writer.write(intent(item), created(item, 5, f"{name}-{item}"))
    writer.write(
        succeeded(1, 5, f"{name}-1"), stored(1), failed(5).model_copy(update={"item": 2, "id": f"{name}-2"})
    )
    writer.write(Withdrawn(item=3, at=AT))
    assert writer.settle()
    return writer


def test_a_job_counts_once_it_has_ended(memory: MemoryStore) -> None:
    root, writer = root_of(memory), Writer.of(memory, "b")
    writer.claim()
    steps: list[tuple[list[Any], tuple[float, ...]]] = [
        ([intent()], (0, 0, 0, 0, 5)),
        ([created(1, 7)], (0, 0, 7, 0, 0)),
        ([intent(2), created(2, None, "k")], (0, 0, 7, 5, 0)),
        ([succeeded(1, 7)], (7, 0, 0, 5, 0)),
        ([stored(1), succeeded(2, None, "k")], (7, 5, 0, 0, 0)),
        ([stored(2), intent(3), UNKNOWN.model_copy(update={"item": 3})], (7, 5, 0, 0, 5)),
    ]
    for records, wanted in steps:
        writer.write(*records)
        assert credits(root.look().figures) == wanted
    assert places(root.look()) == {"stored": 2, "unknown": 1}
    root.close()


def test_a_refund_at_the_end_takes_nothing_back(memory: MemoryStore) -> None:
    root, writer = root_of(memory), Writer.of(memory, "b", 1)
    writer.claim()
    writer.write(intent(), created(1, 7))
    assert credits(root.look().figures) == (0, 0, 7, 0, 0)
    writer.write(failed(0, "full"))
    assert credits(root.look().figures) == (0, 0, 0, 0, 0)
    writer.write(Retry(item=1, at=AT), intent(1, 2), created(1, 7, "again"))
    assert credits(root.look().figures) == (0, 0, 7, 0, 0)
    writer.write(succeeded(1, 7, "again"), stored(1))
    sample = root.look()
    assert credits(sample.figures) == (7, 0, 0, 0, 0)
    assert [(each.stored, sum(each.failed.values())) for each in sample.figures.outcomes] == [(1, 1)]
    root.close()


def test_ages_are_those_of_the_oldest(memory: MemoryStore) -> None:
    writer = Writer.of(memory, "b")
    writer.claim()
    late = intent(2).model_copy(update={"at": AT + timedelta(seconds=60)})
    writer.write(intent(1), created(1), late)
    assert {key[2]: age for key, age in anew(memory).oldest.items()} == {"created": 100, "open": 40}


@pytest.mark.parametrize("seed", range(8))
def test_reading_on_tells_the_same_as_reading_anew(memory: MemoryStore, seed: int) -> None:
    """Batches that begin, grow by shards, settle, go on and settle again, looked at by one that watches and
    by one that has just begun."""
    chance = random.Random(seed)
    root = root_of(memory)
    known: Sample | None = None
    steps = list(_life(memory, chance))
    for step in steps:
        step()
        if chance.random() < 0.6:
            sample = root.look()
            assert told(sample) == told(anew(memory))
            if known is not None:
                _assert_nothing_fell(known, sample)
            known = sample
    assert told(root.look()) == told(anew(memory))
    root.close()


def _life(store: Store, chance: random.Random) -> list[Callable[[], object]]:
    """The steps of three batches' lives, shuffled into each other."""
    lives = [_steps(store, name) for name in ("a", "b", "c")]
    order = [number for number, life in enumerate(lives) for _ in life]
    chance.shuffle(order)
    return [lives[number].pop(0) for number in order]


def _steps(store: Store, name: str) -> list[Callable[[], object]]:
    first, second = Writer.of(store, name), Writer.of(store, name, shard=2, first=4)
    lost = failed(0, "full").model_copy(update={"item": 2, "id": f"{name}2"})

    def do(writer: Writer, *records: Any) -> Callable[[], object]:
        return lambda: writer.write(*records)

    last = intent(2, 2).model_copy(
        update={"at": AT + timedelta(hours=1), "provider_at": AT + timedelta(hours=1)}
    )
    return [
        first.claim,
        do(first, intent(1), intent(2)),
        do(first, created(1, 5, f"{name}1"), created(2, 3, f"{name}2")),
        second.claim,
        do(
            second,
            intent(4),
            created(4, None, f"{name}4"),
            Withdrawn(item=5, at=AT),
            Withdrawn(item=6, at=AT),
        ),
        do(first, succeeded(1, 5, f"{name}1"), stored(1), lost, Withdrawn(item=3, at=AT)),
        lambda: first.settle(second),
        do(second, succeeded(4, None, f"{name}4")),
        do(second, stored(4)),
        lambda: first.settle(second),
        first.claim,
        do(first, Retry(item=2, at=AT), last, created(2, 3, f"{name}2b")),
        do(first, succeeded(2, 3, f"{name}2b"), stored(2)),
        lambda: first.settle(second),
    ]


def _assert_nothing_fell(before: Sample, now: Sample) -> None:
    models = dict(now.figures)
    for name, each in before.figures:
        assert models[name].charged >= each.charged
        assert models[name].estimated >= each.estimated
    outcomes = {each.name: each for each in now.figures.outcomes}
    for known in before.figures.outcomes:
        assert outcomes[known.name].stored >= known.stored
        assert sum(outcomes[known.name].failed.values()) >= sum(known.failed.values())


def test_what_went_on_and_settled_between_two_looks_is_seen(memory: MemoryStore) -> None:
    writer, root = batch(memory), root_of(memory)
    assert credits(root.look().figures)[0] == 10
    writer.claim()
    writer.write(
        Retry(item=2, at=AT),
        intent(2, 2, hours=1),
        created(2, 4, "again"),
        succeeded(2, 4, "again"),
        stored(2),
    )
    assert writer.settle()
    sample = root.look()
    assert credits(sample.figures)[0] == 14
    assert told(sample) == told(anew(memory))
    root.close()


def test_a_look_reads_nothing_of_settled_batches(memory: MemoryStore) -> None:
    for number in range(30):
        batch(memory, f"night-{number}")
    active = Writer.of(memory, "active")
    active.claim()
    read: list[str] = []
    root = root_of(watching(memory, read))
    assert places(root.look())["stored"] == 30
    read.clear()
    root.look()
    assert not [key for key in read if "night" in key]
    quiet = len(read)
    active.write(intent(1), created(1))
    read.clear()
    assert places(root.look())["under_way"] == 1
    assert len(read) == quiet + 1, "a new segment is one read more"
    root.close()


def test_batches_that_the_index_does_not_know_count_too(memory: MemoryStore) -> None:
    batch(memory, "settled")
    writer = Writer.of(memory, "moved")
    writer.write(intent(1), created(1, 9), succeeded(1, 9), stored(1))
    memory.put("notes/readme.txt", b"no batch")
    read: list[str] = []
    root = root_of(watching(memory, read))
    sample = root.look()
    assert credits(sample.figures)[0] == 19
    assert (sample.active, sample.unreadable) == (1, 0)
    read.clear()
    assert told(root.look()) == told(sample)
    assert not [key for key in read if key.startswith(("moved", "notes"))], "they change seldom"
    root.close()


def test_a_batch_that_cannot_be_read_is_counted_and_harms_no_other(memory: MemoryStore) -> None:
    batch(memory, "good")
    bad = Writer.of(memory, "bad")
    bad.claim()
    memory.put(plan_key("bad"), b"no plan\n")
    sample = anew(memory)
    assert (credits(sample.figures)[0], sample.unreadable) == (10, 1)


def test_what_was_known_of_a_batch_stays_when_it_becomes_unreadable(memory: MemoryStore) -> None:
    writer, root = Writer.of(memory, "b"), root_of(memory)
    writer.claim()
    writer.write(intent(1), created(1, 9), succeeded(1, 9), stored(1))
    assert credits(root.look().figures)[0] == 9
    memory.put(segment_key("b", 3), to_line_of_a_later_version())
    for _ in range(2):
        sample = root.look()
        assert (credits(sample.figures)[0], sample.unreadable) == (9, 1)
    root.close()


def to_line_of_a_later_version() -> bytes:

    return seal('{"kind":"segment","format":1,"seq":3,"writer":"w","lines":1}') + seal(
        '{"kind":"dreamt","item":2}'
    )


def test_a_torn_journal_counts_as_far_as_it_reads(memory: MemoryStore) -> None:
    writer, root = Writer.of(memory, "b"), root_of(memory)
    writer.claim()
    writer.write(intent(1), created(1, 9), succeeded(1, 9), stored(1))
    memory.put(segment_key("b", 2), (memory.read(segment_key("b", 2)) or b"")[:-20])
    sample = root.look()
    assert (credits(sample.figures)[0], sample.unreadable) == (9, 1)
    root.close()


def test_a_deleted_batch_stays_counted_by_whoever_has_seen_it(memory: MemoryStore) -> None:
    batch(memory, "settled")
    writer, root = Writer.of(memory, "active"), root_of(memory)
    writer.claim()
    writer.write(intent(1), created(1, 9), succeeded(1, 9), stored(1), intent(2))
    before = root.look()
    assert credits(before.figures) == (19, 0, 0, 0, 5)
    for key in [key for key in memory.files if "active" in key or key.startswith(("settled", SETTLED))]:
        if not key.startswith(".imagine/index"):
            memory.delete(key)
    sample = root.look()
    assert credits(sample.figures) == (19, 0, 0, 0, 0)
    assert (sample.active, sample.oldest) == (0, {})
    assert places(sample) == {"stored": 1, "failed": 1, "withdrawn": 1}, "of the settled one"
    assert told(root.look()) == told(sample)
    assert list(anew(memory).figures) == []
    root.close()


def test_a_settlement_that_an_older_version_wrote_is_written_again(memory: MemoryStore) -> None:
    batch(memory)
    whole = memory.read(settlement_key("b")) or b""
    memory.put(settlement_key("b"), whole.replace(b'"format":3', b'"format":2'))
    assert credits(anew(memory).figures)[0] == 10
    assert b'"format":3' in (memory.read(settlement_key("b")) or b"")


class Failing:
    """A store whose reads of some keys fail, as long as that is said."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails: Callable[[str], bool] = lambda key: False

    def __getattr__(self, name: str) -> Any:
        wanted = getattr(self._store, name)
        if name not in ("read", "head"):
            return wanted

        def read(key: str) -> Any:
            if self.fails(key):
                raise StoreError("gone", retryable=True)
            return wanted(key)

        return read


@pytest.mark.parametrize("where", ["one/", "two/", "three/", "two/journal/00000003", "one/settled"])
def test_a_look_that_fails_halfway_is_made_up_for(memory: MemoryStore, where: str) -> None:
    failing = Failing(memory)
    root = root_of(cast(Store, failing))
    writers = [batch(memory, name) for name in ("one", "two", "three")]
    if not where.endswith("settled"):
        root.look()
    for writer in writers:
        writer.claim()
        writer.write(Retry(item=2, at=AT), intent(2, 2, hours=1))
        writer.write(created(2, 4, "again"))
    failing.fails = lambda key: key.startswith(where)
    with pytest.raises(StoreError):
        root.look()
    failing.fails = lambda key: False
    assert told(root.look()) == told(anew(memory))
    root.close()


def test_marks_say_what_they_said() -> None:
    store = MemoryStore()
    for key in ("b~00000003", "b~00000001.00002", "b~odd", "b~00000007.00002", ".odd~00000001", "c~x"):
        store.put(f"{ACTIVE}{key}", b"")
    assert active_claims(store) == {"b": {1: 3, 2: 7}, "c": {}}
