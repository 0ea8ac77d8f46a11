"""A store in a local folder, or on any mounted file system with hard links."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from prefect_imagine.errors import StoreError
from prefect_imagine.stores.checked import CheckedReader
from prefect_imagine.stores.disk import flush, make_folder, os_errors, replace, sweep, sync_folder
from prefect_imagine.stores.keys import check_key, check_prefix, folder_prefix
from prefect_imagine.stores.protocol import StoredObject, StoredOutput
from prefect_imagine.stores.source import MediaSource

COPY_BYTES = 1024 * 1024
_LOCK_SECONDS = 2.0
_PARTIAL = ".partial"


class FolderStore:
    """Files below one folder. Temporaries live in `<batch id>/.partial/` and appear in no listing."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))
        self._prepared: set[Path] = set()

    @property
    def address(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def read(self, key: str) -> bytes | None:
        found = self.read_version(key)
        return found[0] if found else None

    def pieces(self, key: str) -> Iterator[bytes] | None:
        path = self._path(key)
        with os_errors(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                return None
        return _pieces(path, file)

    def read_version(self, key: str) -> tuple[bytes, str] | None:
        path = self._path(key)
        with os_errors(path):
            try:
                with path.open("rb") as file:
                    return file.read(), _version(os.fstat(file.fileno()))
            except FileNotFoundError:
                return None

    def put_new(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> bool:
        path = self._path(key)
        with os_errors(path), self._temporary(key) as temporary:
            temporary.write(data)
            flush(temporary)
            make_folder(path.parent)
            try:
                os.link(temporary.name, path)
            except FileExistsError:
                return False
            sync_folder(path.parent)
            return True

    def put(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        path = self._path(key)
        with os_errors(path), self._temporary(key) as temporary:
            temporary.write(data)
            flush(temporary)
            replace(temporary, path)

    def put_file(self, key: str, file: BinaryIO, media_type: str = "application/octet-stream") -> None:
        path = self._path(key)
        file.seek(0)
        with os_errors(path), self._temporary(key) as temporary:
            shutil.copyfileobj(file, temporary, COPY_BYTES)
            flush(temporary)
            replace(temporary, path)

    def swap(self, key: str, data: bytes, version: str | None) -> bool:
        path = self._path(key)
        with os_errors(path), self._temporary(key) as temporary, self._locked(key):
            temporary.write(data)
            flush(temporary)
            current = _status(path)
            if (_version(current) if current else None) != version:
                return False
            if current:
                _date_after(temporary, current)
            replace(temporary, path)
            return True

    def put_output(self, stem: str, source: MediaSource, metadata: Mapping[str, str]) -> StoredOutput:
        reader = CheckedReader(source)
        key = check_key(f"{stem}.{reader.media_type.extension}")
        path = self._path(key)
        with os_errors(path), self._temporary(key) as temporary:
            while piece := reader.read(COPY_BYTES):
                temporary.write(piece)
            flush(temporary)
            replace(temporary, path)
        return reader.stored(key)

    def head(self, key: str) -> StoredObject | None:
        path = self._path(key)
        with os_errors(path):
            status = _status(path)
        return _describe(key, status) if status and stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        folder, _, _ = check_prefix(prefix).rpartition("/")
        return self._walk(f"{folder}/" if folder else "", prefix, after or "")

    def folders(self, prefix: str) -> Iterator[str]:
        below = folder_prefix(prefix)
        for name, is_folder in self._entries(below):
            if is_folder and self._has_files(f"{below}{name}/"):
                yield name

    def delete(self, key: str) -> None:
        path = self._path(key)
        with os_errors(path), suppress(FileNotFoundError):
            path.unlink()
            sync_folder(path.parent)

    def now(self) -> float:
        with os_errors(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root) as file:
                return os.fstat(file.fileno()).st_mtime

    def check_writable(self) -> None:
        key = f".check-{secrets.token_hex(8)}"
        try:
            if not self.put_new(key, b"probe") or self.put_new(key, b"probe"):
                raise StoreError(f"{self._root} does not keep files apart: choose another folder")
        finally:
            with suppress(StoreError):
                self.delete(key)
            with suppress(OSError):
                (self._root / _PARTIAL).rmdir()

    def link(self, key: str, *, expires: int | None = None) -> str:
        return str(self._path(key))

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _partial(self, key: str) -> Path:
        """The folder of temporaries for this key, on the file system that the key's file is on."""
        batch, slash, _ = key.partition("/")
        folder = (self._root / batch if slash else self._root) / _PARTIAL
        make_folder(folder)
        if folder not in self._prepared:
            self._prepared.add(folder)
            sweep(folder)
        return folder

    @contextmanager
    def _temporary(self, key: str) -> Iterator[BinaryIO]:
        """A new file beside the key's folder; its name is gone at the end, whatever happened."""
        name = self._partial(key) / f"{secrets.token_hex(12)}.tmp"
        with name.open("xb") as file:
            try:
                yield file
            finally:
                with suppress(FileNotFoundError):
                    name.unlink()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One swap of a batch at a time, on all processes that see this file system.

        A process that was stopped in the middle of a swap is not waited for: if it goes on later, its swap
        may replace a newer one. What is swapped says who lives, and nothing rests on it.
        """
        path = self._partial(key) / "lock"
        with path.open("ab") as file:
            tried_until = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > tried_until:
                        break
                    time.sleep(0.005)
            yield

    def _entries(self, below: str) -> Sequence[tuple[str, bool]]:
        """Names and whether they are folders, in the order that their keys have in a bucket."""
        path = self._root / below
        with os_errors(path):
            try:
                with os.scandir(path) as entries:
                    found = [(entry.name, _is_folder(entry)) for entry in entries if entry.name != _PARTIAL]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(found, key=lambda entry: f"{entry[0]}/" if entry[1] else entry[0])

    def _has_files(self, below: str) -> bool:
        try:
            return next(self._walk(below, "", ""), None) is not None
        except StoreError:
            return True  # it may: whoever reads it gets the reason why it cannot be read

    def _walk(self, below: str, prefix: str, after: str) -> Iterator[StoredObject]:
        for name, is_folder in self._entries(below):
            key = f"{below}{name}"
            if is_folder:
                folder = f"{key}/"
                if (folder > after or after.startswith(folder)) and _related(folder, prefix):
                    yield from self._walk(folder, prefix, after)
            elif key > after and key.startswith(prefix):
                path = self._root / key
                with os_errors(path):
                    status = _status(path)
                if status:
                    yield _describe(key, status)


def _pieces(path: Path, file: BinaryIO) -> Iterator[bytes]:
    with os_errors(path), file:
        while piece := file.read(COPY_BYTES):
            yield piece


def _related(folder: str, prefix: str) -> bool:
    return folder.startswith(prefix) or prefix.startswith(folder)


def _describe(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, status.st_mtime, _version(status))


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles, or to where this user may not go
        return False


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _date_after(file: BinaryIO, current: os.stat_result) -> None:
    """Keep versions apart where the clock ticks coarsely and inodes are used again."""
    status = os.fstat(file.fileno())
    modified = max(status.st_mtime_ns, current.st_mtime_ns + 1)
    os.utime(file.fileno(), ns=(status.st_atime_ns, modified))
