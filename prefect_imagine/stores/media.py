"""What a body is, from its first bytes alone: names and headers are often wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

import filetype


@dataclass(frozen=True)
class MediaType:
    """A media type and the extension its files carry, without the dot."""

    mime: str
    extension: str


TEXT = MediaType("text/plain; charset=utf-8", "txt")

_KNOWN = {
    "png": MediaType("image/png", "png"),
    "jpg": MediaType("image/jpeg", "jpg"),
    "webp": MediaType("image/webp", "webp"),
    "gif": MediaType("image/gif", "gif"),
    "avif": MediaType("image/avif", "avif"),
    "heic": MediaType("image/heic", "heic"),
    "svg": MediaType("image/svg+xml", "svg"),
    "tif": MediaType("image/tiff", "tif"),
    "bmp": MediaType("image/bmp", "bmp"),
    "hdr": MediaType("image/vnd.radiance", "hdr"),
    "exr": MediaType("image/x-exr", "exr"),
    "mp4": MediaType("video/mp4", "mp4"),
    "mov": MediaType("video/quicktime", "mov"),
    "webm": MediaType("video/webm", "webm"),
    "mkv": MediaType("video/x-matroska", "mkv"),
    "avi": MediaType("video/x-msvideo", "avi"),
    "m4a": MediaType("audio/mp4", "m4a"),
    "mp3": MediaType("audio/mpeg", "mp3"),
    "wav": MediaType("audio/wav", "wav"),
    "ogg": MediaType("audio/ogg", "ogg"),
    "flac": MediaType("audio/flac", "flac"),
    "aac": MediaType("audio/aac", "aac"),
    "pdf": MediaType("application/pdf", "pdf"),
    "zip": MediaType("application/zip", "zip"),
    "glb": MediaType("model/gltf-binary", "glb"),
}

# Comments and declarations before the root element are skipped without backtracking.
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+"
    rb"(?>(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE\s+svg[^>\[]*(?:\[[^\]]*\]\s*)?>)\s*+)*+"
    rb"<(?:\w+:)?svg[\s/>]",
    re.DOTALL,
)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_IMAGE_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"hevc": "heic"}
_OLD_QUICKTIME = (b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot")
_MAGIC = {
    b"RF64": "wav",
    b"#?RADIANCE": "hdr",
    b"#?RGBE": "hdr",
    b"\x76\x2f\x31\x01": "exr",
    b"glTF": "glb",
}


def sniff(head: bytes) -> MediaType | None:
    """The media type of a body with this head; `None` for what is no media: pages, JSON, XML, nothing.

    Give it some kilobytes where there are as many: an SVG's root may come late.
    """
    extension = _iso_media(head) or _magic(head) or _vector(head) or _mpeg_audio(head) or _library(head)
    return _KNOWN.get(extension or "")


def _library(head: bytes) -> str | None:
    guess = filetype.guess(head) if head else None
    if guess is None:
        return None
    return "png" if guess.extension == "apng" else str(guess.extension)


def _magic(head: bytes) -> str | None:
    return next((extension for magic, extension in _MAGIC.items() if head.startswith(magic)), None)


def _iso_media(head: bytes) -> str | None:
    """The MP4 family by its brands: there are dozens, so what is not another kind is an MP4."""
    # A box of a sane size, so that four letters in a text are not taken for one.
    if head[:2] != b"\0\0":
        return None
    if head[4:8] != b"ftyp":
        return "mov" if head[4:8] in _OLD_QUICKTIME else None
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    compatible = [head[at : at + 4] for at in range(16, size - 3, 4)]
    if major in (b"M4A ", b"M4B ", b"M4P "):
        return "m4a"
    if major == b"qt  ":
        return "mov"
    candidates = [major, *compatible] if major in (b"mif1", b"msf1", b"miaf") else [major]
    return next((_IMAGE_BRANDS[brand] for brand in candidates if brand in _IMAGE_BRANDS), "mp4")


def _vector(head: bytes) -> str | None:
    text = head.decode("utf-16", "ignore").encode() if head.startswith(_UTF16_MARKS) else head
    return "svg" if _SVG.match(text) else None


def _mpeg_audio(head: bytes) -> str | None:
    """MPEG audio by its frame header: the library misses MPEG-2.5 and frames with a checksum."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, sample_rate = head[2] >> 4, head[2] >> 2 & 3
    return "mp3" if version != 1 and layer == 1 and bitrate != 15 and sample_rate != 3 else None
