"""One reader that hashes and checks a body while a store takes it in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from prefect_imagine.errors import OutputError
from prefect_imagine.redaction import without_query
from prefect_imagine.stores.completeness import CompletenessCheck
from prefect_imagine.stores.media import MediaType, sniff
from prefect_imagine.stores.protocol import StoredOutput
from prefect_imagine.stores.source import MediaSource


class CheckedReader:
    """A raw reader over a source. The last bytes come only after all checks have passed.

    A writer that needs all of them, such as an upload of a declared length, thus cannot complete with a
    body that is cut short or is not media.

    Attributes:
        media_type: what the body is.
        size: bytes read from the source.
        sha256: of the whole body, in hexadecimal, once it was read.
        failure: why the body was refused while it was read.

    Raises:
        OutputError: the body cannot be had, is `empty` or `not_media`.
    """

    def __init__(self, source: MediaSource) -> None:
        self.media_type = _media_type(source)
        self.content_length = source.content_length
        self.size = 0
        self.failure: OutputError | None = None
        self._hash = hashlib.sha256()
        self._check = CompletenessCheck(self.media_type)
        self._chunks = self._whole(source)
        self._buffer = memoryview(b"")
        self._touched = False

    def stored(self, key: str) -> StoredOutput:
        """The finished output under this key."""
        return StoredOutput(key, self.size, self.sha256, self.media_type.mime)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end.

        Raises:
            OutputError: the body is not whole, or cannot be had.
        """
        return bytes(self._piece(size))

    def read_full(self, size: int) -> bytearray:
        """The next `size` bytes; fewer only at the end.

        Raises:
            OutputError: the body is not whole, or cannot be had.
        """
        data = bytearray()
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
        return data

    def seek(self, offset: int) -> int:
        """Back to the start while nothing was read, so that a client can repeat a refused request."""
        if offset or self._touched:
            raise OSError("this body can be read once")
        return 0

    def _piece(self, size: int) -> memoryview:
        self._touched = True
        if not self._buffer:
            self._buffer = memoryview(next(self._chunks, b""))
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def _whole(self, source: MediaSource) -> Iterator[bytes]:
        held = b""
        try:
            for chunk in source.chunks():
                self.size += len(chunk)
                self._hash.update(chunk)
                self._check.feed(chunk)
                if held:
                    yield held
                held = chunk
            self._check.finish()
        except OutputError as error:
            self.failure = error
            raise
        yield held


def _media_type(source: MediaSource) -> MediaType:
    head = source.head
    media_type = source.media_type or sniff(head)
    if not head:
        raise OutputError(f"{source.name} is empty", reason="empty")
    if media_type is None:
        raise OutputError(f"{source.name} is no media: it starts with {_excerpt(head)}", reason="not_media")
    return media_type


def _excerpt(head: bytes) -> str:
    text = " ".join(without_query(head[:500].decode("utf-8", "replace")).split())
    shown = "".join(letter for letter in text if letter.isprintable())[:60]
    return repr(shown)
