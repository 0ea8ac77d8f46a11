"""What only a folder has: temporaries, permissions, full disks."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect_imagine.errors import OutputError, StoreError
from prefect_imagine.stores import MediaSource, Store, open_store
from tests.stores import media_files


def files(root: Path) -> list[str]:
    """Every file below the folder but the lock, hidden ones included."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith(".partial/lock"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more than this of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_temporaries_lie_in_the_batch_and_go(folder_store: Store) -> None:
    root = Path(folder_store.address)
    seen: list[str] = []

    def chunks() -> Iterator[bytes]:
        body = media_files.wav(4_000_000)
        for at in range(0, len(body), 500_000):
            seen.extend(files(root))
            yield body[at : at + 500_000]

    folder_store.put_output("b/outputs/0", MediaSource(chunks()), {})
    assert seen
    assert all(name.startswith("b/.partial/") for name in seen)
    assert files(root) == ["b/outputs/0.wav"]
    assert [found.key for found in folder_store.list("")] == ["b/outputs/0.wav"]


@pytest.mark.parametrize(
    "write",
    [
        lambda store, body: store.put("b/outputs/0.wav", body),
        lambda store, body: store.put_new("b/outputs/0.wav", body),
        lambda store, body: store.swap("b/outputs/0.wav", body, None),
        lambda store, body: store.put_output("b/outputs/0", MediaSource.from_bytes(body), {}),
    ],
    ids=["put", "put_new", "swap", "put_output"],
)
def test_a_full_disk_leaves_no_temporary(
    folder_store: Store, write: Callable[[Store, bytes], object]
) -> None:
    folder_store.put("b/plan", b"-")
    body = media_files.wav(3_000_000)
    with largest_file(2_000_000), pytest.raises(StoreError) as refused:
        write(folder_store, body)
    assert refused.value.retryable
    assert files(Path(folder_store.address)) == ["b/plan"]


def test_a_refused_output_leaves_no_temporary(folder_store: Store) -> None:
    body = media_files.wav(3_000_000)[:-1000]
    with pytest.raises(OutputError):
        folder_store.put_output("b/outputs/0", MediaSource.from_bytes(body), {})
    assert files(Path(folder_store.address)) == []


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    partial = tmp_path / "b" / ".partial"
    partial.mkdir(parents=True)
    old, new = partial / "old.tmp", partial / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"-")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    open_store(str(tmp_path)).put("b/plan", b"-")
    assert files(tmp_path) == ["b/.partial/new.tmp", "b/plan"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"-")
    with pytest.raises(StoreError, match="choose another folder") as refused:
        open_store(str(tmp_path / "file" / "out")).check_writable()
    assert not refused.value.retryable
    assert str(tmp_path) in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="write access") as refused:
        open_store(str(tmp_path / "out")).check_writable()
    assert not refused.value.retryable


def test_a_check_creates_the_folder_and_no_more(folder_store: Store) -> None:
    folder_store.check_writable()
    assert list(Path(folder_store.address).iterdir()) == []


def test_a_link_is_the_path(folder_store: Store) -> None:
    folder_store.put("b/outputs/0.png", b"-")
    assert Path(folder_store.link("b/outputs/0.png")).read_bytes() == b"-"


def test_every_swap_has_another_version(folder_store: Store) -> None:
    versions: list[str | None] = [None]
    for number in range(200):
        assert folder_store.swap("b/lease.json", b"%04d" % number, versions[-1])
        found = folder_store.read_version("b/lease.json")
        assert found is not None
        versions.append(found[1])
    assert len(set(versions)) == len(versions)
