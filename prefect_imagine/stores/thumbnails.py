"""Small pictures of large ones, from the bytes that pass into a store: nothing is fetched for them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from types import TracebackType

from prefect_imagine.stores.media import sniff
from prefect_imagine.stores.source import MediaSource

logger = logging.getLogger(__name__)

SIDE = 480
SMALL_BYTES = 200 * 1024
MAX_BYTES = 64 * 1024**2
# Decoding takes some 200 MB at most: an 8K skybox has 34 million pixels of four bytes. Other decoders than
# those of JPEG and PNG keep several copies of a picture.
MAX_PIXELS = 40_000_000
MAX_PIXELS_ELSE = 12_000_000
MEMORY_BYTES = 1024**2
DECODE_SECONDS = 60.0
THUMBNAIL_TYPE = "image/webp"

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")
_MEDIA_TYPES = frozenset(f"image/{name.lower()}" for name in _FORMATS)
# One thread, not one lock: freed memory stays with the thread that used it, and many threads transfer.
_decoder = ThreadPoolExecutor(1, thread_name_prefix="imagine-thumbnails")


class PictureCopy:
    """Keeps a copy of one picture on its way into a store, for as long as its thumbnail needs it.

    What does not fit into a megabyte of memory is kept in the system's folder for temporary files, so that
    many large pictures at once take little memory. Not thread-safe; close it, or use it in `with`.

    Args:
        max_bytes: of the largest picture that is copied.
        memory_bytes: of a copy that are kept in memory.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES, memory_bytes: int = MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._memory_bytes = memory_bytes
        self._file: SpooledTemporaryFile[bytes] | None = None
        self._size = 0
        self._name = ""

    def __enter__(self) -> PictureCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def of(self, source: MediaSource) -> MediaSource:
        """What to store in place of `source`: the same bytes, copied as they pass if a thumbnail is wanted.

        None is wanted of what is no picture, and of what is known to be small or over `max_bytes`.

        Raises:
            OutputError: the body cannot be had.
        """
        length = source.content_length
        if length is not None and not SMALL_BYTES < length <= self._max_bytes:
            return source
        media_type = source.media_type or sniff(source.head)
        if media_type is None or media_type.mime not in _MEDIA_TYPES:
            return source
        self._file = SpooledTemporaryFile(self._memory_bytes)  # noqa: SIM115 - `close` closes it
        self._name = source.name
        return MediaSource(
            self._copied(source),
            content_length=length,
            media_type=media_type,
            max_bytes=sys.maxsize,  # the source keeps to its own
            name=source.name,
        )

    def thumbnail(self) -> bytes | None:
        """The whole picture as WebP, at most `SIDE` pixels wide and high, once it has passed.

        `None` where the picture is small enough to be its own thumbnail, in bytes or, unless it moves, in
        pixels, was not copied, has too many pixels, cannot be decoded, or has not been after a minute. Waits
        while another picture is decoded.
        """
        if self._file is None or self._size <= SMALL_BYTES:
            return None
        try:
            return _decoder.submit(_shrunk, self._file).result(DECODE_SECONDS)
        except Exception as error:  # broken pictures make decoders raise errors of every kind
            logger.info("%s gets no thumbnail: %s", self._name, str(error) or type(error).__name__)
            return None

    def close(self) -> None:
        """Forget the copy."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what a full disk has not taken is written again on closing
                file.close()

    def _copied(self, source: MediaSource) -> Iterator[bytes]:
        for chunk in source.chunks():
            self._keep(chunk)
            yield chunk

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._file is None:
            return
        try:
            if self._size > self._max_bytes:
                raise OSError(f"it is larger than {self._max_bytes} bytes")
            self._file.write(chunk)
        except OSError as error:
            logger.info("%s gets no thumbnail: %s", self._name, error)
            self.close()


def _shrunk(file: SpooledTemporaryFile[bytes]) -> bytes | None:
    # Pillow takes longer to load than all else in this room, and many commands store nothing.
    from PIL import Image, ImageOps

    with Image.open(file, formats=_FORMATS) as picture:
        if max(picture.size) <= SIDE and not getattr(picture, "is_animated", False):
            return None
        most = MAX_PIXELS if picture.format in ("JPEG", "PNG") else MAX_PIXELS_ELSE
        if picture.width * picture.height > most:
            raise ValueError(f"{picture.width} by {picture.height} pixels are too many")
        # A palette can only be shrunk by leaving pixels out.
        found = picture.convert("RGBA") if picture.mode in ("1", "P", "PA") else picture
        found.thumbnail((SIDE, SIDE))
        ImageOps.exif_transpose(found, in_place=True)
        small = io.BytesIO()
        found.save(small, "WEBP", quality=75)
    return small.getvalue()
