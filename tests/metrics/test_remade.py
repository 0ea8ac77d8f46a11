"""Batches that are deleted, and made again under the same name, while an exporter lives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from prefect_imagine.batches.index import ACTIVE, SETTLED, ensure_index
from prefect_imagine.batches.origin import Origin, write_origin
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.metrics.root import KnownRoot, Sample
from prefect_imagine.stores import Store
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import created, stored, succeeded
from tests.engine.engine_runs import Runs, numbered
from tests.engine.test_collect import watching
from tests.metrics.journals import AT, Writer, credits, intent, places, told
from tests.metrics.test_root import to_line_of_a_later_version

LATER = AT + timedelta(hours=1)


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    ensure_index(store)
    return store


@contextmanager
def watched(store: Store) -> Iterator[KnownRoot]:
    root = KnownRoot(store, now=lambda: AT + timedelta(seconds=100))
    try:
        yield root
    finally:
        root.close()


def make(store: Store, made: datetime, *, origin: bool = True, items: int = 3) -> Writer:
    writer = Writer.of(store, "art", items, made=made, origin=origin)
    writer.claim()
    return writer


def create(writer: Writer, item: int, price: int, at: datetime) -> None:
    asked = intent(item).model_copy(update={"at": at, "provider_at": at})
    writer.write(asked)
    writer.write(created(item, price, f"{at}-{item}"))


def store_item(writer: Writer, item: int, price: int, at: datetime) -> None:
    create(writer, item, price, at)
    writer.write(succeeded(item, price, f"{at}-{item}"), stored(item))


def remove(store: MemoryStore, *prefixes: str) -> dict[str, tuple[bytes, int, float]]:
    """As `rm -rf` does it; and what was there."""
    keys = [key for key in store.files if key.startswith(prefixes)]
    return {key: store.files.pop(key) for key in keys}


def charged(sample: Sample) -> float:
    return credits(sample.figures)[0]


@pytest.mark.parametrize("origin", [True, False])
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("items", [1, 2, 3, 5])
@pytest.mark.parametrize("settles", [True, False])
def test_one_that_is_made_again_is_added(
    memory: MemoryStore, settles: bool, items: int, looks: bool, origin: bool
) -> None:
    old = make(memory, AT, origin=origin)
    with watched(memory) as root:
        for item in (1, 2):
            store_item(old, item, 5, AT)
        (store_item if settles else create)(old, 3, 5, AT)
        assert old.settle() is settles
        before = 15 if settles else 10
        assert charged(root.look()) == before
        remove(memory, "art/")
        if looks:
            assert charged(root.look()) == before
        new = make(memory, LATER, origin=origin, items=items)
        for item in range(1, items + 1):
            assert charged(root.look()) == before + 4 * (item - 1)
            store_item(new, item, 4, LATER)
        assert charged(root.look()) == before + 4 * items
        assert new.settle()
        sample = root.look()
        assert charged(sample) == before + 4 * items
        assert [each.stored for each in sample.figures.outcomes] == [before // 5 + items]
        with watched(memory) as other:
            anew = other.look()
        assert (places(sample), sample.active, sample.oldest) == ({"stored": items}, 0, {})
        assert (places(anew), anew.active, anew.oldest) == ({"stored": items}, 0, {})
        assert told(root.look()) == told(sample)


@pytest.mark.parametrize("origin", [True, False])
def test_one_that_was_made_again_and_settled_between_two_looks_is_added(
    memory: MemoryStore, origin: bool
) -> None:
    with watched(memory) as root:
        for number, made in enumerate((AT, LATER, LATER + timedelta(hours=1)), start=1):
            remove(memory, "art/")
            writer = make(memory, made, origin=origin)
            for item in (1, 2, 3):
                store_item(writer, item, 5, made)
            assert writer.settle()
            sample = root.look()
            assert (charged(sample), places(sample)) == (15 * number, {"stored": 3})


def test_one_that_is_deleted_is_not_active_though_it_is_marked(memory: MemoryStore) -> None:
    writer = make(memory, AT)
    store_item(writer, 1, 5, AT)
    create(writer, 2, 5, AT)
    with watched(memory) as root:
        sample = root.look()
        assert (credits(sample.figures), sample.active) == ((5, 0, 5, 0, 0), 1)
        remove(memory, "art/")
        sample = root.look()
    assert any(memory.list(ACTIVE))
    assert (credits(sample.figures), sample.active, places(sample)) == ((5, 0, 0, 0, 0), 0, {})
    with watched(memory) as root:
        assert root.look().active == 0


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("origin", [True, False])
def test_one_that_was_away_is_counted_once(memory: MemoryStore, origin: bool, marked: bool) -> None:
    writer = make(memory, AT, origin=origin)
    store_item(writer, 1, 5, AT)
    create(writer, 2, 5, AT)
    with watched(memory) as root:
        before = root.look()
        away = remove(memory, "art/") if marked else remove(memory, "art/", ACTIVE, SETTLED)
        assert credits(root.look().figures) == (5, 0, 0, 0, 0)
        memory.files.update(away)
        assert told(root.look()) == told(before)
        writer.write(succeeded(2, 5, f"{AT}-2"), stored(2))
        assert credits(root.look().figures) == (10, 0, 0, 0, 0)


def test_one_that_comes_back_and_cannot_be_read_stays_counted(memory: MemoryStore) -> None:
    writer = make(memory, AT)
    store_item(writer, 1, 5, AT)
    with watched(memory) as root:
        root.look()
        away = remove(memory, "art/")
        root.look()
        memory.files.update(away)
        memory.put(segment_key("art", writer.seq + 1), to_line_of_a_later_version())
        sample = root.look()
        assert (charged(sample), sample.unreadable) == (5, 1)


def test_an_origin_that_comes_or_goes_makes_no_other_batch(memory: MemoryStore) -> None:
    """One of the first edition gets it when it is amended; whoever deletes may begin with it."""
    writer = make(memory, AT, origin=False)
    store_item(writer, 1, 5, AT)
    with watched(memory) as root:
        before = told(root.look())
        write_origin(memory, Origin(batch_id="art", source=None, created=LATER))
        assert told(root.look()) == before
    with watched(memory) as root:
        assert told(root.look()) == before
        remove(memory, "art/batch.json")
        assert told(root.look()) == before
        remove(memory, "art/")
        assert charged(root.look()) == 5


def test_to_know_which_one_it_is_costs_one_read(memory: MemoryStore) -> None:
    writer = Writer.of(memory, "art", made=AT)
    writer.claim()
    read: list[str] = []
    with watched(watching(memory, read)) as root:
        root.look()
        read.clear()
        root.look()
    of_batch = [key for key in read if key.startswith("art/")]
    assert of_batch == ["art/batch.json", "art/shards", segment_key("art", 2)]


async def test_the_same_command_again_after_a_deletion_adds_up_to_the_books(
    runs: Runs, store_folder: Path
) -> None:
    with watched(runs.store) as root:
        for again, items in enumerate((3, 2, 4), start=1):
            await runs.run(numbered("aivisualstudio", items), batch="art")
            sample = root.look()
            assert charged(sample) == runs.sandbox.report(jobs=False)["charged"]["aivisualstudio"]
            assert (places(sample), sample.active) == ({"stored": items}, 0), again
            shutil.rmtree(store_folder / "art")
