"""Valid media files of any size that differ for every job, described without building them in memory."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from prefect_imagine.sandbox.media.pictures import draw
from prefect_imagine.sandbox.media.sound import tone

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class MediaSpec:
    """What decides a file's bytes: `marker` makes it the job's own, `look` is what composes a picture, and
    `least` its size's lower bound."""

    format: str
    prompt: str
    marker: str
    look: str = ""
    size: tuple[int, int] = (512, 512)
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """A file as head, `count` times the same block, and tail."""

    head: bytes
    block: bytes = b""
    count: int = 0
    tail: bytes = b""

    @property
    def length(self) -> int:
        return len(self.head) + len(self.block) * self.count + len(self.tail)

    def chunks(self) -> Iterator[bytes]:
        yield self.head
        for _ in range(self.count):
            yield self.block
        yield self.tail


@lru_cache(maxsize=128)
def render(spec: MediaSpec) -> Media:
    """The file of a spec: the same spec gives the same bytes, at any time and in any process."""
    makers = {"png": _png, "jpg": _jpg, "webp": _webp, "wav": _wav, "mp4": _mp4}
    return makers[spec.format](spec)


@lru_cache(maxsize=200_000)
def fingerprint(spec: MediaSpec) -> tuple[str, int]:
    """sha256 (hex) and length in bytes of a spec's file."""
    media = render(spec)
    digest = hashlib.sha256()
    for chunk in media.chunks():
        digest.update(chunk)
    return digest.hexdigest(), media.length


def _blocks(spec: MediaSpec, have: int, block: int = BLOCK) -> int:
    """How many blocks bring a file of `have` bytes to at least what the spec wants."""
    missing = (spec.least or 0) - have
    return -(-missing // block) if missing > 0 else 0


def _encoded(spec: MediaSpec, format_name: str, **options: object) -> bytes:
    buffer = BytesIO()
    draw(spec.prompt, spec.marker, spec.look, spec.size).save(buffer, format_name, **options)
    return buffer.getvalue()


def _note(spec: MediaSpec) -> bytes:
    return json.dumps({"prompt": spec.prompt, "job": spec.marker}).encode()


def _png(spec: MediaSpec) -> Media:
    """Marked by a tEXt chunk, filled up with private ancillary chunks; all before IEND."""
    plain = _encoded(spec, "PNG", compress_level=1)
    body, end = plain[:-12], plain[-12:]
    head = body + _png_chunk(b"tEXt", b"Comment\0" + _note(spec))
    return Media(head, _png_filler(), _blocks(spec, len(head) + len(end)), end)


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@lru_cache(maxsize=1)
def _png_filler() -> bytes:
    return _png_chunk(b"paDd", bytes(BLOCK - 12))


def _jpg(spec: MediaSpec) -> Media:
    """Marked and filled up by comment segments right after the start of image."""
    plain = _encoded(spec, "JPEG", quality=85)
    head, tail = plain[:2] + _jpg_comment(_note(spec)[:60_000]), plain[2:]
    filler = _jpg_comment(bytes(65_000))
    return Media(head, filler, _blocks(spec, len(head) + len(tail), len(filler)), tail)


def _jpg_comment(data: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(data) + 2) + data


def _webp(spec: MediaSpec) -> Media:
    """An extended WebP (it has XMP), where further chunks are allowed: one marks it, the rest fill it up."""
    plain = _encoded(spec, "WEBP", quality=80, method=0, xmp=b"<x/>")
    body = plain[12:] + _riff_chunk(b"NOTE", _note(spec))
    filler = _riff_chunk(b"PADD", bytes(BLOCK - 8))
    count = _blocks(spec, 12 + len(body))
    size = 4 + len(body) + count * len(filler)
    return Media(b"RIFF" + struct.pack("<I", size) + b"WEBP" + body, filler, count)


def _riff_chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _wav(spec: MediaSpec) -> Media:
    """A tone of the prompt's own pitch, made longer with silence when a size is asked for."""
    rate, samples = tone(spec.prompt)
    layout = _riff_chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16))
    intro = b"WAVE" + layout + _riff_chunk(b"LIST", b"INFO" + _riff_chunk(b"ICMT", _note(spec)))
    count = _blocks(spec, 8 + len(intro) + 8 + len(samples))
    size = len(samples) + count * BLOCK
    riff = b"RIFF" + struct.pack("<I", len(intro) + 8 + size)
    return Media(riff + intro + b"data" + struct.pack("<I", size) + samples, bytes(BLOCK), count)


@lru_cache(maxsize=1)
def _clip() -> bytes:
    return Path(__file__).with_name("clip.mp4").read_bytes()


def _mp4(spec: MediaSpec) -> Media:
    """The shipped two-second clip with a top-level `free` box that marks it and fills it up."""
    note = _note(spec)
    count = _blocks(spec, len(_clip()) + 8 + len(note))
    box = struct.pack(">I", 8 + len(note) + count * BLOCK) + b"free" + note
    return Media(_clip() + box, bytes(BLOCK), count)
