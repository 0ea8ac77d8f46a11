"""A store in a dictionary, for tests of what happens above it; and one that can be interfered with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from prefect_imagine.stores import MediaSource, StoredObject, StoredOutput
from prefect_imagine.stores.checked import CheckedReader
from prefect_imagine.stores.keys import folder_prefix


class MemoryStore:
    """Files in memory, each write with a version of its own."""

    address = "memory"

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, int, float]] = {}
        self.clock: Callable[[], float] = time.time
        self._writes = 0
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes | None:
        found = self.files.get(key)
        return found[0] if found else None

    def pieces(self, key: str) -> Iterator[bytes] | None:
        found = self.read(key)
        return None if found is None else iter([found])

    def read_version(self, key: str) -> tuple[bytes, str] | None:
        found = self.files.get(key)
        return (found[0], str(found[1])) if found else None

    def put_new(self, key: str, data: bytes, media_type: str = "") -> bool:
        return self.swap(key, data, None)

    def put(self, key: str, data: bytes, media_type: str = "") -> None:
        with self._lock:
            self._write(key, data)

    def put_file(self, key: str, file: BinaryIO, media_type: str = "") -> None:
        file.seek(0)
        self.put(key, file.read(), media_type)

    def swap(self, key: str, data: bytes, version: str | None) -> bool:
        with self._lock:
            found = self.files.get(key)
            if (str(found[1]) if found else None) != version:
                return False
            self._write(key, data)
            return True

    def put_output(self, stem: str, source: MediaSource, metadata: Mapping[str, str]) -> StoredOutput:
        reader = CheckedReader(source)
        key = f"{stem}.{reader.media_type.extension}"
        data = b"".join(iter(lambda: reader.read(1 << 20), b""))
        self.put(key, data)
        return reader.stored(key)

    def head(self, key: str) -> StoredObject | None:
        found = self.files.get(key)
        return StoredObject(key, len(found[0]), found[2], str(found[1])) if found else None

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        for key in sorted(self.files):
            found = self.head(key)
            if key.startswith(prefix) and key > (after or "") and found is not None:
                yield found

    def folders(self, prefix: str) -> Iterator[str]:
        folder = folder_prefix(prefix)
        below = [key.removeprefix(folder) for key in self.files if key.startswith(folder)]
        yield from sorted({name.partition("/")[0] for name in below if "/" in name})

    def delete(self, key: str) -> None:
        with self._lock:
            self.files.pop(key, None)

    def now(self) -> float:
        return self.clock()

    def check_writable(self) -> None:
        """It is."""

    def link(self, key: str, *, expires: int | None = None) -> str:
        return key

    def close(self) -> None:
        """Nothing is held open."""

    def _write(self, key: str, data: bytes) -> None:
        self._writes += 1
        self.files[key] = (data, self._writes, self.clock())


class InterferedStore(MemoryStore):
    """Calls a function just before or just after some write is made."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[str], object] = lambda key: None
        self.deny: Callable[[str], bool] = lambda key: False

    def put(self, key: str, data: bytes, media_type: str = "") -> None:
        self.before(key)
        super().put(key, data, media_type)

    def swap(self, key: str, data: bytes, version: str | None) -> bool:
        """Answers "exists" to a write that was made, where `deny` says so: as a repeated request does."""
        self.before(key)
        return super().swap(key, data, version) and not self.deny(key)
