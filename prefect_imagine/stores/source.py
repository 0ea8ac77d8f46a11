"""Bytes on their way to a store: a body that is read once, with what is known of it beforehand."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, unquote_to_bytes

from prefect_imagine.errors import OutputError
from prefect_imagine.stores.media import TEXT, MediaType

HEAD_BYTES = 16 * 1024
MAX_OUTPUT_BYTES = 2 * 1024**3


class MediaSource:
    """A body that can be looked at (`head`) and then read once (`chunks`).

    Attributes:
        content_length: bytes that will come, where that is known.
        media_type: what the body is, where the caller knows; otherwise its bytes are sniffed.
        name: what to call it in messages; never with a query string, which may be a signature.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        content_length: int | None = None,
        media_type: MediaType | None = None,
        max_bytes: int = MAX_OUTPUT_BYTES,
        name: str = "the output",
    ) -> None:
        self._chunks = iter(chunks)
        self._peeked: list[bytes] | None = None
        self._max_bytes = max_bytes
        self.content_length = content_length
        self.media_type = media_type
        self.name = name
        if content_length is not None and content_length > max_bytes:
            raise self._too_large()

    @classmethod
    def from_text(cls, text: str, *, name: str = "the text") -> MediaSource:
        """A text output, stored as UTF-8 with the extension `.txt`."""
        return cls.from_bytes(text.encode(), media_type=TEXT, name=name)

    @classmethod
    def from_bytes(
        cls, data: bytes, *, media_type: MediaType | None = None, name: str = "the output"
    ) -> MediaSource:
        """A body that is already here."""
        return cls([data], content_length=len(data), media_type=media_type, name=name)

    @classmethod
    def from_data_url(cls, url: str, *, max_bytes: int = MAX_OUTPUT_BYTES) -> MediaSource:
        """The body that a `data:` URL holds (RFC 2397). What type it says it is counts for nothing.

        Raises:
            OutputError: it is no such URL, or too large.
        """
        head, comma, body = url.partition(",")
        name = f"{head[:80]},…"
        if not comma:
            raise OutputError(f"{name} holds no data", reason="refused_url")
        try:
            data = (
                b64decode(unquote(body), validate=True)
                if head.endswith(";base64")
                else unquote_to_bytes(body)
            )
        except ValueError as error:
            raise OutputError(f"{name} is not base64: {error}", reason="truncated") from error
        return cls([data], content_length=len(data), max_bytes=max_bytes, name=name)

    @property
    def head(self) -> bytes:
        """The first bytes, at least `HEAD_BYTES` of a body that has them. Reading them takes nothing away.

        Raises:
            OutputError: the body cannot be had.
        """
        if self._peeked is None:
            self._peeked = []
            while (
                sum(map(len, self._peeked)) < HEAD_BYTES and (chunk := next(self._chunks, None)) is not None
            ):
                self._peeked.append(chunk)
        return b"".join(self._peeked)

    def chunks(self) -> Iterator[bytes]:
        """The whole body, once.

        Raises:
            OutputError: it ends before its length (`truncated`), passes the size cap (`too_large`), is
                `empty`, or whatever the origin raises underway.
        """
        received = 0
        for chunk in self._raw():
            received += len(chunk)
            if received > self._max_bytes:
                raise self._too_large()
            if chunk:
                yield chunk
        if self.content_length is not None and received != self.content_length:
            raise OutputError(
                f"{self.name}: {received} of {self.content_length} bytes arrived", reason="truncated"
            )
        if not received:
            raise OutputError(f"{self.name} is empty", reason="empty")

    def _raw(self) -> Iterator[bytes]:
        peeked, self._peeked = self._peeked or [], []
        yield from peeked
        yield from self._chunks

    def _too_large(self) -> OutputError:
        return OutputError(f"{self.name} is larger than {self._max_bytes} bytes", reason="too_large")
