"""Small files of many kinds, as encoders write them."""

from __future__ import annotations

import hashlib
import io
import struct
import wave
from typing import Any

from PIL import Image

Color = str | tuple[int, int, int]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def image(color: Color = "red", size: int = 64) -> Image.Image:
    """A picture with some structure, so that its data spans more than a header."""
    found = Image.effect_mandelbrot((size, size), (-2.0, -1.5, 1.0, 1.5), 40).convert("RGB")
    found.paste(color, (0, 0, size // 4, size // 4))
    return found


def picture(format: str, color: Color = "red", size: int = 64, **options: Any) -> bytes:
    """The picture as a file of this format."""
    file = io.BytesIO()
    image(color, size).save(file, format, **options)
    return file.getvalue()


def jpeg_with_thumbnail() -> bytes:
    """A JPEG in whose metadata there is another, whole one."""
    body = picture("JPEG", size=128)
    inner = b"Exif\0\0" + picture("JPEG", size=32)
    return body[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + body[2:]


def png(color: Color = "red") -> bytes:
    return picture("PNG", color)


def wav(size: int) -> bytes:
    """A WAV of exactly this many bytes, which is even."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 24_000, 0, "NONE", ""))
        writer.writeframes(b"\1\2" * ((size - 44) // 2))
    return file.getvalue()


def mp3(size: int) -> bytes:
    """What a sniffer takes for MPEG audio; it has no end that could be missed."""
    frame = b"\xff\xfb\x90\x00" + bytes(range(256)) + bytes(157)
    return (frame * (size // len(frame) + 1))[:size]


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def large_box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body


def mp4(*, brand: bytes = b"isom", large: bool = False, moov_first: bool = False) -> bytes:
    head = box(b"ftyp", brand + b"\0\0\2\0" + brand + b"iso2")
    data = large_box(b"mdat", bytes(3000)) if large else box(b"mdat", bytes(3000))
    moov = box(b"moov", box(b"mvhd", bytes(100)))
    return head + (moov + data if moov_first else data + moov)


def ogg(pages: int = 3) -> bytes:
    found = b""
    for number in range(pages):
        flags = 2 if number == 0 else 4 if number == pages - 1 else 0
        header = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, number * 960, 7, number, 0, 2)
        found += header + bytes((255, 45)) + bytes(300)
    return found


def webm(*, known: bool = True) -> bytes:
    header = b"\x42\x86\x81\x01\x42\x82\x84webm"
    body = bytes(2000)
    size = struct.pack(">Q", len(body) | 1 << 56) if known else b"\x01" + b"\xff" * 7
    ebml = b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(header)]) + header
    return ebml + b"\x18\x53\x80\x67" + size + body


SVG = b"""<?xml version="1.0" encoding="UTF-8"?>
<!-- drawn --><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><g><rect width="9" height="9"/></g></svg>
"""
