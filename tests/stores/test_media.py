"""Types told from bytes alone, and bodies that were cut short."""

from __future__ import annotations

import struct

import pytest

from prefect_imagine.errors import OutputError
from prefect_imagine.stores import CompletenessCheck, sniff
from tests.stores import media_files
from tests.stores.media_files import box, mp4, ogg, picture, wav, webm

WHOLE: dict[str, tuple[bytes, str, str]] = {
    "png": (picture("PNG"), "image/png", "png"),
    "apng": (
        picture("PNG", save_all=True, append_images=[media_files.image("blue")]),
        "image/png",
        "png",
    ),
    "jpeg": (picture("JPEG"), "image/jpeg", "jpg"),
    "progressive jpeg": (picture("JPEG", progressive=True, size=256), "image/jpeg", "jpg"),
    "jpeg with a thumbnail": (media_files.jpeg_with_thumbnail(), "image/jpeg", "jpg"),
    "webp": (picture("WEBP"), "image/webp", "webp"),
    "lossless webp": (picture("WEBP", lossless=True), "image/webp", "webp"),
    "gif": (picture("GIF"), "image/gif", "gif"),
    "animated gif": (
        picture("GIF", save_all=True, append_images=[media_files.image("blue")]),
        "image/gif",
        "gif",
    ),
    "avif": (picture("AVIF"), "image/avif", "avif"),
    "svg": (media_files.SVG, "image/svg+xml", "svg"),
    "mp4": (mp4(), "video/mp4", "mp4"),
    "mp4 for streaming": (mp4(moov_first=True), "video/mp4", "mp4"),
    "mp4 of a rare brand": (mp4(brand=b"iso6"), "video/mp4", "mp4"),
    "mp4 with 64-bit sizes": (mp4(large=True), "video/mp4", "mp4"),
    "mov": (mp4(brand=b"qt  "), "video/quicktime", "mov"),
    "m4a": (mp4(brand=b"M4A "), "audio/mp4", "m4a"),
    "wav": (wav(4000), "audio/wav", "wav"),
    "ogg": (ogg(), "audio/ogg", "ogg"),
    "webm": (webm(), "video/webm", "webm"),
}
UNBOUNDED: dict[str, tuple[bytes, str, str]] = {
    "mp3": (media_files.mp3(4000), "audio/mpeg", "mp3"),
    "mp3 with a tag": (b"ID3\4\0\0\0\0\0\0" + media_files.mp3(4000), "audio/mpeg", "mp3"),
    "mp3 with a checksum": (b"\xff\xfa\x90\x00" + bytes(4000), "audio/mpeg", "mp3"),
    "mp3 of MPEG-2": (b"\xff\xf3\x84\x00" + bytes(4000), "audio/mpeg", "mp3"),
    "mp3 of MPEG-2.5": (b"\xff\xe3\x18\x00" + bytes(4000), "audio/mpeg", "mp3"),
    "aac": (b"\xff\xf1\x50\x80" + bytes(4000), "audio/aac", "aac"),
    "flac": (b"fLaC\0\0\0\x22" + bytes(4000), "audio/flac", "flac"),
    "pdf": (b"%PDF-1.7\n" + bytes(4000), "application/pdf", "pdf"),
    "webm as it is recorded": (webm(known=False), "video/webm", "webm"),
}
NO_MEDIA = [
    b"",
    b" ",
    b"<!DOCTYPE html><html><body>an <svg></svg> in a page</body></html>",
    b"<html><head></head></html>",
    b'{"error": "not found", "url": "picture.png"}',
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    b"<!-- a --><!-- b -->" * 300,
    b"Not Found",
    b"see ftyp",
    b"the moov box",
    "ÿÿ".encode(),
    bytes(5000),
]


def check(body: bytes, chunk: int) -> None:
    media_type = sniff(body[:16384])
    assert media_type is not None
    following = CompletenessCheck(media_type)
    for at in range(0, len(body), chunk):
        following.feed(body[at : at + chunk])
    following.finish()


@pytest.mark.parametrize(("body", "mime", "extension"), (WHOLE | UNBOUNDED).values(), ids=WHOLE | UNBOUNDED)
def test_a_type_is_told_from_the_bytes(body: bytes, mime: str, extension: str) -> None:
    found = sniff(body)
    assert found is not None
    assert (found.mime, found.extension) == (mime, extension)


@pytest.mark.parametrize("body", NO_MEDIA)
def test_what_is_no_media_has_no_type(body: bytes) -> None:
    assert sniff(body) is None


@pytest.mark.parametrize("chunk", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("name", WHOLE | UNBOUNDED)
def test_a_whole_body_passes(name: str, chunk: int) -> None:
    check((WHOLE | UNBOUNDED)[name][0], chunk)


@pytest.mark.parametrize("chunk", [1, 1000])
@pytest.mark.parametrize("name", WHOLE)
def test_a_body_cut_anywhere_is_refused(name: str, chunk: int) -> None:
    body = WHOLE[name][0]
    start = body.index(b"<svg ") + 5 if name == "svg" else min(len(body) // 2, 1200)
    for end in range(start, len(body) - 16, 97 if chunk > 1 else 997):
        with pytest.raises(OutputError, match="ends before it is whole") as refused:
            check(body[:end], chunk)
        assert refused.value.reason == "truncated"


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "svg", "wav", "webm"])
@pytest.mark.parametrize("trailer", [b"\0", b"\n", bytes(5000), b"some trailing words"])
def test_what_follows_a_whole_body_is_tolerated(name: str, trailer: bytes) -> None:
    check(WHOLE[name][0] + trailer, 1000)


def test_a_picture_behind_the_picture_is_tolerated() -> None:
    check(WHOLE["jpeg"][0] + WHOLE["jpeg"][0] + mp4(), 1000)


def test_a_gif_without_its_trailer_is_tolerated() -> None:
    check(WHOLE["gif"][0][:-1], 1000)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000023, 0x7FFFF024])
def test_a_wav_written_as_a_stream_has_no_size(size: int) -> None:
    body = wav(4000)
    check(body[:4] + struct.pack("<I", size) + body[8:40] + struct.pack("<I", size) + body[44:], 1000)


def test_a_wav_without_its_pad_byte_is_whole() -> None:
    body = wav(4000)
    check(body[:4] + struct.pack("<I", len(body) - 8 + 1) + body[8:], 1000)


def test_a_last_box_may_run_to_the_end() -> None:
    check(mp4(moov_first=True)[:-3008] + struct.pack(">I4s", 0, b"mdat") + bytes(99), 10)


def test_a_fragmented_movie_is_whole_at_a_boundary() -> None:
    body = mp4(moov_first=True) + box(b"moof", bytes(40)) + box(b"mdat", bytes(700))
    check(body, 100)
    with pytest.raises(OutputError):
        check(body[:-100], 100)


def test_a_movie_without_its_index_is_refused() -> None:
    with pytest.raises(OutputError):
        check(mp4()[: -len(box(b"moov", box(b"mvhd", bytes(100))))], 100)


@pytest.mark.parametrize(
    "head",
    [
        media_files.SVG,
        b"<svg/>",
        b"\xef\xbb\xbf  <svg xmlns='http://www.w3.org/2000/svg'></svg>",
        b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'></svg:svg>",
        media_files.SVG.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        b"<!--" + b"long words " * 1000 + b"--><svg></svg>",
        b'<!DOCTYPE svg [<!ENTITY ns "http://x/">]><svg></svg>',
    ],
    ids=range(7),
)
def test_an_svg_may_start_in_many_ways(head: bytes) -> None:
    found = sniff(head)
    assert found is not None
    assert found.extension == "svg"
    check(head, 100)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_large_pictures_pass(format: str) -> None:
    check(picture(format, size=1500), 65536)
