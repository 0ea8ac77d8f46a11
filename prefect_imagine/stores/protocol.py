"""What the rest of the package asks of a place to keep files: one protocol, a folder or a bucket behind it.

Keys are relative to the store's root, with `/` between segments. The first segment is a batch id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from prefect_imagine.stores.source import MediaSource


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it.

    Attributes:
        key: relative to the store's root.
        size: bytes.
        modified: epoch seconds on the store's own clock; compare it with `Store.now`, never with ours.
        version: changes whenever the object is replaced; what `Store.swap` takes.
    """

    key: str
    size: int
    modified: float
    version: str


@dataclass(frozen=True)
class StoredOutput:
    """One finished output: whole, of a known media type, under its final key.

    Attributes:
        key: relative to the store's root.
        bytes: its size.
        sha256: of its bytes, in hexadecimal.
        media_type: as sniffed from its bytes.
    """

    key: str
    bytes: int
    sha256: str
    media_type: str


class Store(Protocol):
    """Durable files by key. Thread-safe; every call blocks and raises `StoreError` when the store fails.

    A bucket may answer a repeated write with "exists" although it was ours: a `False` from `put_new` or
    `swap` therefore means "read it and compare", not "somebody else's".
    """

    @property
    def address(self) -> str:
        """`s3://bucket/prefix` or an absolute folder path, without a trailing slash."""
        ...

    def read(self, key: str) -> bytes | None:
        """The object's bytes; `None` where there is no such key."""
        ...

    def pieces(self, key: str) -> Iterator[bytes] | None:
        """The same bytes one piece after the other, for what may not fit into memory."""
        ...

    def read_version(self, key: str) -> tuple[bytes, str] | None:
        """The object's bytes and the version they belong to; `None` where there is no such key."""
        ...

    def put_new(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> bool:
        """Write unless the key exists, and say whether it was written. Durable when it returns."""
        ...

    def put(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """Write, replacing what is there in one step. Durable when it returns."""
        ...

    def put_file(self, key: str, file: BinaryIO, media_type: str = "application/octet-stream") -> None:
        """The same with all that a file holds, from its beginning, without holding it in memory."""
        ...

    def swap(self, key: str, data: bytes, version: str | None) -> bool:
        """Replace only what has this version (`None`: only if absent), and say whether it was written."""
        ...

    def put_output(self, stem: str, source: MediaSource, metadata: Mapping[str, str]) -> StoredOutput:
        """Store a whole output under `stem` and the extension that its bytes call for.

        Nothing appears under the key unless every check has passed; what was there is replaced.

        Raises:
            OutputError: the bytes are not whole or not media.
        """
        ...

    def head(self, key: str) -> StoredObject | None:
        """What a listing would show; `None` where there is no such key."""
        ...

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """Objects whose key starts with `prefix`, in ascending order of keys, from behind `after`.

        The order is the server's: within one folder all agree, but between a folder `a/` and names such as
        `a-b` some S3 servers do not.
        """
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly in `prefix` (a folder's key; empty: the root), ascending."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; an absent one is fine."""
        ...

    def now(self) -> float:
        """Epoch seconds on the store's own clock, exact to a second."""
        ...

    def check_writable(self) -> None:
        """Write, contest and delete a probe.

        Raises:
            StoreError: with what to do about it.
        """
        ...

    def link(self, key: str, *, expires: int | None = None) -> str:
        """Where a person can open the object: a signed URL good for `expires` seconds, or a file path.

        `None` is the longest that S3 signs for, seven days.
        """
        ...

    def close(self) -> None:
        """Give connections back."""
        ...
