"""What every store promises, on a folder and on a real S3 server."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefect_imagine.errors import OutputError, StoreError
from prefect_imagine.stores import MediaSource, Store
from tests.stores import media_files

RACERS = 16


def race(work: Iterable[object], call: object) -> list[object]:
    """The results of one call for each item, all released at once."""
    items = list(work)
    gate = threading.Barrier(len(items))

    def run(item: object) -> object:
        gate.wait()
        return call(item)  # type: ignore[operator]

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(run, items))


def keys(store: Store, prefix: str, after: str | None = None) -> list[str]:
    return [found.key for found in store.list(prefix, after=after)]


def test_what_is_put_can_be_read(store: Store) -> None:
    store.put("b/plan.jsonl", b"one", "application/jsonl")
    assert store.read("b/plan.jsonl") == b"one"
    store.put("b/plan.jsonl", b"two")
    assert store.read("b/plan.jsonl") == b"two"


def test_an_empty_object_is_not_an_absent_one(store: Store) -> None:
    store.put("b/empty", b"")
    assert store.read("b/empty") == b""
    assert store.read("b/absent") is None
    assert store.read_version("b/absent") is None
    assert store.head("b/absent") is None


def test_what_may_not_fit_into_memory_comes_in_pieces(store: Store) -> None:
    data = bytes(range(256)) * 12_000
    store.put("b/manifest.jsonl", data)
    pieces = store.pieces("b/manifest.jsonl")
    assert pieces is not None
    first = next(pieces)
    assert len(first) < len(data)
    assert first + b"".join(pieces) == data
    assert store.pieces("b/absent") is None
    store.put("b/empty", b"")
    empty = store.pieces("b/empty")
    assert empty is not None
    assert b"".join(empty) == b""


def test_put_new_writes_once(store: Store) -> None:
    assert store.put_new("b/journal/1", b"mine")
    assert not store.put_new("b/journal/1", b"theirs")
    assert store.read("b/journal/1") == b"mine"


@pytest.mark.parametrize("attempt", range(2))
def test_one_of_many_racing_writers_wins(store: Store, attempt: int) -> None:
    won = race(range(RACERS), lambda racer: store.put_new("b/journal/1", str(racer).encode()))
    assert sum(map(bool, won)) == 1
    assert store.read("b/journal/1") == str(won.index(True)).encode()


def test_swap_needs_the_current_version(store: Store) -> None:
    assert not store.swap("b/lease.json", b"x", "no version")
    assert store.swap("b/lease.json", b"one", None)
    assert not store.swap("b/lease.json", b"two", None)
    found = store.read_version("b/lease.json")
    assert found is not None
    assert found[0] == b"one"
    assert store.swap("b/lease.json", b"two", found[1])
    assert not store.swap("b/lease.json", b"three", found[1])
    assert store.read("b/lease.json") == b"two"


def test_one_of_many_racing_swaps_wins(store: Store) -> None:
    store.put("b/lease.json", b"free")
    found = store.read_version("b/lease.json")
    assert found is not None
    won = race(range(RACERS), lambda racer: store.swap("b/lease.json", str(racer).encode(), found[1]))
    assert sum(map(bool, won)) == 1
    assert store.read("b/lease.json") == str(won.index(True)).encode()


def test_the_version_of_a_listing_is_the_one_to_swap(store: Store) -> None:
    store.put("b/lease.json", b"one")
    listed, read = next(store.list("b/lease")), store.read_version("b/lease.json")
    head = store.head("b/lease.json")
    assert head is not None
    assert read is not None
    assert listed == head
    assert head.version == read[1]
    assert head.size == 3


def test_listings_are_recursive_and_in_order(store: Store) -> None:
    names = ["b/journal/000010", "b/journal/000002", "b/journal/000001", "b/a/x", "c/plan"]
    for name in names:
        store.put(name, b"-")
    assert keys(store, "") == sorted(names)
    assert keys(store, "b/") == sorted(names)[:-1]
    assert keys(store, "b/journal/") == ["b/journal/000001", "b/journal/000002", "b/journal/000010"]
    assert keys(store, "b/journal/00000") == ["b/journal/000001", "b/journal/000002"]
    assert keys(store, "b/journal/", "b/journal/000001") == ["b/journal/000002", "b/journal/000010"]
    assert keys(store, "", "b/journal/000002") == ["b/journal/000010", "c/plan"]
    assert keys(store, "nothing/") == []


def test_a_long_listing_is_complete(store: Store) -> None:
    names = [f"b/journal/{number:06}" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, b"-"), names))
    assert keys(store, "b/journal/") == names


@pytest.mark.parametrize("store", ["memory", "folder", "s3"], indirect=True)
def test_folders_are_the_batches(store: Store) -> None:
    for name in ("two/plan.jsonl", "one/outputs/a.png", "one/plan.jsonl", "loose"):
        store.put(name, b"-")
    assert list(store.folders("")) == ["one", "two"]
    assert list(store.folders("one")) == ["outputs"]
    assert list(store.folders("one/")) == ["outputs"]
    assert list(store.folders("none")) == []


def test_delete_is_final_and_forgiving(store: Store) -> None:
    store.put("b/x", b"-")
    store.delete("b/x")
    store.delete("b/x")
    assert store.read("b/x") is None


def test_ages_are_told_by_the_stores_own_clock(store: Store) -> None:
    store.put("b/x", b"-")
    head = store.head("b/x")
    assert head is not None
    assert -2 < store.now() - head.modified < 60


def test_a_writable_store_keeps_nothing_of_its_check(store: Store) -> None:
    store.check_writable()
    assert keys(store, "") == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "../a", "a/../b", "a/.", "a\nb", "a\\b", "a/" + "x" * 1000]
)
def test_keys_stay_below_the_root(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match=r"root|longer"):
        store.put(key, b"-")
    with pytest.raises(StoreError, match=r"root|longer"):
        store.read(key)


@pytest.mark.parametrize("name", ["ünïcode 図.txt", "a b+c&d=e%20f.txt", "~tilde'quote.txt"])
def test_unusual_names_are_kept(store: Store, name: str) -> None:
    store.put(f"b/{name}", b"-")
    assert store.read(f"b/{name}") == b"-"
    assert keys(store, "b/") == [f"b/{name}"]


def test_an_output_gets_the_extension_of_its_bytes(store: Store) -> None:
    picture = media_files.png()
    stored = store.put_output("b/outputs/0-fox", MediaSource.from_bytes(picture), {"prompt": "ein Füchslein"})
    assert stored.key == "b/outputs/0-fox.png"
    assert stored.media_type == "image/png"
    assert stored.bytes == len(picture)
    assert stored.sha256 == media_files.sha256(picture)
    assert store.read(stored.key) == picture


def test_an_output_stored_again_is_the_same(store: Store) -> None:
    picture = media_files.png()
    first = store.put_output("b/outputs/0", MediaSource.from_bytes(picture), {})
    assert store.put_output("b/outputs/0", MediaSource.from_bytes(picture), {}) == first


@pytest.mark.parametrize("size", [0, 5, 3 * 1024**2 + 1])
def test_a_file_is_put_whole_from_its_beginning(store: Store, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        for _ in range(2):  # wherever it stands, and whatever is there
            store.put_file("b/manifest.jsonl", file, "application/jsonl")
    assert store.read("b/manifest.jsonl") == data


def test_another_output_under_the_same_key_replaces_it(store: Store) -> None:
    store.put_output("b/outputs/0", MediaSource.from_bytes(media_files.png(color="red")), {})
    other = media_files.png(color="blue")
    stored = store.put_output("b/outputs/0", MediaSource.from_bytes(other), {})
    assert store.read(stored.key) == other


def test_a_text_is_an_output(store: Store) -> None:
    stored = store.put_output("b/outputs/0", MediaSource.from_text("schön"), {})
    assert stored.key == "b/outputs/0.txt"
    assert stored.media_type == "text/plain; charset=utf-8"
    assert store.read(stored.key) == "schön".encode()


def test_a_body_of_unknown_length_is_stored(store: Store) -> None:
    picture = media_files.png()
    source = MediaSource(picture[at : at + 100] for at in range(0, len(picture), 100))
    assert store.read(store.put_output("b/outputs/0", source, {}).key) == picture


@pytest.mark.parametrize("size", [8 * 1024**2 - 1, 8 * 1024**2, 8 * 1024**2 + 1, 17 * 1024**2])
@pytest.mark.parametrize("known", [True, False])
def test_bodies_of_every_size_are_stored(store: Store, size: int, known: bool) -> None:
    body = media_files.mp3(size)
    source = MediaSource(
        (body[at : at + 100_003] for at in range(0, size, 100_003)), content_length=size if known else None
    )
    stored = store.put_output("b/outputs/0", source, {"a": "b"})
    assert stored.bytes == size
    assert stored.sha256 == media_files.sha256(body)
    assert store.read(stored.key) == body
    again = store.put_output("b/outputs/0", MediaSource.from_bytes(body), {})
    assert again == stored


@pytest.mark.parametrize("size", [50_000, 9 * 1024**2])
@pytest.mark.parametrize("known", [True, False])
def test_a_body_cut_short_leaves_nothing(store: Store, size: int, known: bool) -> None:
    body = media_files.wav(size)[:-1000]
    source = MediaSource(
        (body[at : at + 100_003] for at in range(0, len(body), 100_003)),
        content_length=len(body) if known else None,
    )
    with pytest.raises(OutputError) as refused:
        store.put_output("b/outputs/0", source, {})
    assert refused.value.reason == "truncated"
    assert keys(store, "") == []


@pytest.mark.parametrize("size", [50_000, 9 * 1024**2])
@pytest.mark.parametrize("known", [True, False])
def test_a_source_that_fails_leaves_what_was_there(store: Store, size: int, known: bool) -> None:
    before = media_files.wav(1000)
    store.put_output("b/outputs/0", MediaSource.from_bytes(before), {})

    def failing() -> Iterable[bytes]:
        yield media_files.wav(size)[: size // 2]
        raise OutputError("the origin is gone", reason="unavailable")

    with pytest.raises(OutputError) as refused:
        store.put_output("b/outputs/0", MediaSource(failing(), content_length=size if known else None), {})
    assert refused.value.reason == "unavailable"
    assert store.read("b/outputs/0.wav") == before


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Access denied</html>", "not_media"),
        (b'{"error": "gone"}', "not_media"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not_media"),
    ],
)
def test_what_is_no_media_is_refused(store: Store, body: bytes, reason: str) -> None:
    with pytest.raises(OutputError) as refused:
        store.put_output("b/outputs/0", MediaSource.from_bytes(body), {})
    assert refused.value.reason == reason
    assert keys(store, "") == []


def test_many_outputs_at_once(store: Store) -> None:
    bodies = [media_files.png(color=(number, 0, 0)) for number in range(RACERS)]
    stored = race(
        range(RACERS),
        lambda number: store.put_output(f"b/outputs/{number}", MediaSource.from_bytes(bodies[number]), {}),
    )
    assert [store.read(output.key) for output in stored] == bodies  # type: ignore[attr-defined]
