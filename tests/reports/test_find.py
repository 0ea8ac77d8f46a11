"""Finding an output by its digest: the newest batches first, by manifests that can be relied upon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from prefect_imagine.batches.index import RootIndex, ensure_index, settle_batch
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.models import Output
from prefect_imagine.reports.find import check_digest, find_output, newest_first
from prefect_imagine.reports.manifest import ManifestFile, manifest_key
from tests.batches.memory_store import MemoryStore
from tests.reports.report_items import make_item

ONE = "ab" * 32
OTHER = "abababab" + "cd" * 28


def listed(store: MemoryStore, batch_id: str, day: int, *digests: str) -> None:
    """A batch that has settled on a day of March, with one output of each of these digests."""
    items = [
        make_item(index, outputs=(Output(key=f"outputs/{index}.png", sha256=digest),))
        for index, digest in enumerate(digests, 1)
    ]
    ManifestFile(items).put(store, batch_id)
    settle_batch(store, batch_id, datetime(2025, 3, day, tzinfo=UTC), {})


def root(*batches: tuple[str, int, Sequence[str]]) -> MemoryStore:
    store = MemoryStore()
    ensure_index(store)
    for batch_id, day, digests in batches:
        listed(store, batch_id, day, *digests)
    return store


def found_in(store: MemoryStore, digest: str, *, every: bool = False) -> list[tuple[str, int]]:
    looks = find_output(store, digest, every=every)
    return [(each.batch_id, each.item.index) for look in looks for each in look.found]


def test_the_newest_batch_is_found_and_others_on_request() -> None:
    store = root(("old", 1, [ONE]), ("new", 9, ["ef" * 32, ONE]), ("middle", 5, [ONE, ONE]))
    assert found_in(store, ONE) == [("new", 2)]
    assert found_in(store, ONE, every=True) == [("new", 2), ("middle", 1), ("middle", 2), ("old", 1)]


def test_a_beginning_finds_only_what_it_names_alone() -> None:
    store = root(("new", 9, [ONE]), ("old", 1, [OTHER]))
    with pytest.raises(ConfigurationError, match=f"begins several: {ONE}, {OTHER}"):
        found_in(store, "abababab")
    assert found_in(store, OTHER[:9]) == [("old", 1)]
    assert found_in(root(("new", 9, [ONE]), ("old", 1, [ONE])), ONE[:8]) == [("new", 1), ("old", 1)]


def test_what_is_under_way_comes_first_and_what_the_index_does_not_know_last() -> None:
    settled = {"old": datetime(2025, 3, 1, tzinfo=UTC), "new": datetime(2025, 3, 9, tzinfo=UTC)}
    index = RootIndex({"b": {}, "a": {}}, settled, frozenset({"copied"}), {})
    assert newest_first(index) == ["a", "b", "new", "old", "copied"]


def test_a_digest_elsewhere_in_a_line_is_no_output() -> None:
    store = root(("one", 1, ["ef" * 32]))
    item = make_item(1, ONE, labels={"sha": ONE}, outputs=(Output(key="outputs/1.png", sha256="ef" * 32),))
    ManifestFile([item]).put(store, "one")
    assert found_in(store, ONE) == []


@pytest.mark.parametrize(
    "damage", [b"{" + ONE.encode() + b'"', b'{"sha256":"' + ONE.encode() + b'"\n', b"\xff" * 20]
)
def test_a_damaged_manifest_stops_nobody(damage: bytes) -> None:
    store = root(("one", 9, [ONE]), ("two", 1, [ONE]))
    store.put(manifest_key("one"), damage)
    assert found_in(store, ONE) == [("two", 1)]


@pytest.mark.parametrize("text", ["", "abcdefg", "ab" * 33, "xyzxyzxyz", "../../etc/passwd"])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a file nor a sha256"):
        check_digest(text)


def test_digits_are_taken_in_either_case() -> None:
    assert check_digest(" ABCDEF01\n") == "abcdef01"
