"""Whether a body is whole, from its own structure: some are cut short although their length matched.

Each format is a generator that says what it wants next of the bytes and returns once the file is whole; what
follows then (padding, metadata, a second picture) is tolerated. A format that has no reliable end, and a
file that leaves its format's rules, are taken as whole: a good file must never be refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass

from prefect_imagine.errors import OutputError
from prefect_imagine.stores.media import MediaType


@dataclass(frozen=True)
class Take:
    """Hand over the next bytes. With `may_end` the file may end before they are all there."""

    count: int
    may_end: bool = False


@dataclass(frozen=True)
class Skip:
    """Pass over bytes, of which the last `spare` may be missing."""

    count: int
    spare: int = 0


@dataclass(frozen=True)
class Find:
    """Pass over bytes up to and with the match, which is handed over; it is `width` bytes."""

    pattern: re.Pattern[bytes]
    width: int


Wish = Take | Skip | Find
Walk = Generator[Wish, bytes, None]


class CompletenessCheck:
    """Follows one body of a known type in constant memory: `feed` all of it, then `finish`."""

    def __init__(self, media_type: MediaType) -> None:
        walk = _WALKS.get(media_type.extension)
        self._extension = media_type.extension
        self._walk: Walk | None = walk() if walk else None
        self._wish: Wish | None = next(self._walk, None) if self._walk else None
        self._pending = b""

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        if self._wish is None:
            return
        data = self._pending + chunk
        at = 0
        while self._wish is not None:
            step, granted = _grant(self._wish, data, at)
            at += step
            if granted is None:
                if isinstance(self._wish, Skip):
                    self._wish = Skip(self._wish.count - step, self._wish.spare)
                break
            self._advance(granted)
        self._pending = data[at:] if self._wish is not None else b""

    def finish(self) -> None:
        """The body has ended.

        Raises:
            OutputError: it ended too early (`truncated`).
        """
        wish = self._wish
        if wish is None or (isinstance(wish, Take) and wish.may_end):
            return
        if isinstance(wish, Skip) and wish.count <= wish.spare:
            return
        raise OutputError(f"the {self._extension} ends before it is whole", reason="truncated")

    def _advance(self, granted: bytes) -> None:
        assert self._walk is not None
        try:
            self._wish = self._walk.send(granted)
        except StopIteration:
            self._wish = None


def _grant(wish: Wish, data: bytes, at: int) -> tuple[int, bytes | None]:
    """How far to go, and what to hand over; `None` while the wish is open."""
    left = len(data) - at
    if isinstance(wish, Skip):
        return (wish.count, b"") if wish.count <= left else (left, None)
    if isinstance(wish, Take):
        return (wish.count, data[at : at + wish.count]) if wish.count <= left else (0, None)
    match = wish.pattern.search(data, at)
    if match:
        return match.end() - at, match.group()
    return max(0, left - wish.width + 1), None


def _png() -> Walk:
    yield Skip(8)
    while True:
        header = yield Take(8)
        if not header[4:].isalpha():
            return
        yield Skip(int.from_bytes(header[:4], "big") + 4)
        if header[4:] == b"IEND":
            return


# In coded data 0xFF is followed by a stuffed zero, a restart marker or fill bytes; all else is a marker.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def _jpeg() -> Walk:
    """Segments are passed over by their length, so that a thumbnail's end is not taken for the picture's."""
    yield Skip(2)
    while True:
        marker = yield Find(_JPEG_MARKER, 2)
        if marker == b"\xff\xd9":
            return
        length = int.from_bytes((yield Take(2)), "big")
        yield Skip(max(0, length - 2))


def _gif() -> Walk:
    header = yield Take(13)
    yield Skip(_colors(header[10]))
    seen_image = False
    while True:
        # Some encoders leave the trailer out.
        block = yield Take(1, may_end=seen_image)
        if block == b"\x2c":
            descriptor = yield Take(9)
            yield Skip(_colors(descriptor[8]) + 1)
            seen_image = True
        elif block == b"\x21":
            yield Skip(1)
        else:
            return
        while size := (yield Take(1))[0]:
            yield Skip(size)


def _colors(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _riff(spare: int) -> Walk:
    header = yield Take(12)
    size = int.from_bytes(header[4:8], "little")
    # Encoders that stream cannot know the size: they write zero, or one as large as they can.
    if header[:4] == b"RIFF" and 4 < size < 0x7FFF0000:
        yield Skip(size - 4, spare)


def _boxes(required: frozenset[bytes]) -> Walk:
    seen: set[bytes] = set()
    while True:
        header = yield Take(8, may_end=required <= seen)
        size, kind = int.from_bytes(header[:4], "big"), header[4:]
        seen.add(kind)
        if size == 1:
            size = int.from_bytes((yield Take(8)), "big") - 8
        # Zero runs to the end of the file; less than a header is no box.
        if size < 8:
            return
        yield Skip(size - 8)


def _ogg() -> Walk:
    pages = 0
    while True:
        mark = yield Take(4, may_end=pages > 0)
        if mark != b"OggS":
            return
        header = yield Take(23)
        lacing = yield Take(header[22])
        yield Skip(sum(lacing))
        pages += 1


def _matroska() -> Walk:
    """The EBML header, then one segment, whose size may be unknown."""
    for element in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        if (yield Take(4)) != element:
            return
        first = (yield Take(1))[0]
        extra = 8 - first.bit_length()
        if extra > 7:
            return
        rest = yield Take(extra)
        size = int.from_bytes(bytes([first & (0x7F >> extra)]) + rest, "big")
        if size == 2 ** (7 * (extra + 1)) - 1:
            return
        yield Skip(size)


# UTF-16 is let through by its byte order mark, which UTF-8 cannot contain.
_SVG_END = re.compile(rb"</(?:\w+:)?svg\s*>|<(?:\w+:)?svg\b[^>]*/>|\xff\xfe|\xfe\xff")


def _svg() -> Walk:
    yield Find(_SVG_END, 4096)


def _movie() -> Walk:
    return _boxes(frozenset((b"moov", b"mdat")))


def _picture_boxes() -> Walk:
    return _boxes(frozenset((b"meta",)))


def _tight_riff() -> Walk:
    return _riff(spare=1)


def _loose_riff() -> Walk:
    # Some writers count the eight bytes before the size as well.
    return _riff(spare=8)


_WALKS: dict[str, Callable[[], Walk]] = {
    "png": _png,
    "jpg": _jpeg,
    "gif": _gif,
    "webp": _tight_riff,
    "wav": _loose_riff,
    "avi": _loose_riff,
    "mp4": _movie,
    "mov": _movie,
    "m4a": _movie,
    "avif": _picture_boxes,
    "heic": _picture_boxes,
    "ogg": _ogg,
    "webm": _matroska,
    "mkv": _matroska,
    "svg": _svg,
}
