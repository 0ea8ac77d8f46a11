"""Thumbnails: made of large pictures from the bytes that pass, and never in the way of storing them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from prefect_imagine.errors import OutputError
from prefect_imagine.stores import MediaSource, Store, thumbnails
from prefect_imagine.stores.thumbnails import SIDE, SMALL_BYTES, PictureCopy
from tests.stores import media_files


def grainy(width: int = 1200, height: int = 600, mode: str = "RGB") -> Image.Image:
    """A picture that does not compress: white noise, its left half darkened."""
    found = Image.effect_noise((width, height), 60).convert(mode)
    found.paste(0, (0, 0, width // 2, height))
    return found


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


LARGE_PNG = encoded(grainy(), "PNG", compress_level=1)
FULL = Path("/dev/full")


def source_of(body: bytes, *, known: bool = True) -> MediaSource:
    chunks = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    return MediaSource(chunks, content_length=len(body) if known else None)


def thumbnail_of(body: bytes, *, known: bool = True, **bounds: int) -> bytes | None:
    with PictureCopy(**bounds) as copy:
        assert b"".join(copy.of(source_of(body, known=known)).chunks()) == body
        return copy.thumbnail()


def opened(thumbnail: bytes | None) -> Image.Image:
    assert thumbnail is not None
    assert len(thumbnail) < SMALL_BYTES / 4
    found = Image.open(io.BytesIO(thumbnail))
    assert found.format == "WEBP"
    return found


@pytest.mark.parametrize("known", [True, False])
def test_a_stored_picture_leaves_a_copy_for_its_thumbnail(store: Store, known: bool) -> None:
    with PictureCopy() as copy:
        source = copy.of(source_of(LARGE_PNG, known=known))
        stored = store.put_output("b/outputs/0", source, {})
        assert opened(copy.thumbnail()).size == (SIDE, SIDE // 2)
    assert stored.key == "b/outputs/0.png"
    assert stored.sha256 == media_files.sha256(LARGE_PNG)
    assert store.read(stored.key) == LARGE_PNG


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("JPEG", "L", {"quality": 98, "progressive": True}),
        ("PNG", "P", {"compress_level": 1}),
        ("PNG", "LA", {"compress_level": 1}),
        ("WEBP", "RGB", {"lossless": True}),
        ("GIF", "P", {}),
        ("TIFF", "RGB", {}),
        ("BMP", "RGB", {}),
    ],
)
def test_pictures_of_many_kinds_are_shrunk(format: str, mode: str, options: dict[str, object]) -> None:
    found = opened(thumbnail_of(encoded(grainy(mode=mode), format, **options)))
    assert found.size == (SIDE, SIDE // 2)


def test_transparency_and_orientation_are_kept() -> None:
    picture = grainy(900, 600, "RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = opened(thumbnail_of(encoded(picture, "PNG", exif=exif)))
    assert found.size == (SIDE * 2 // 3, SIDE)
    assert found.mode == "RGBA"


@pytest.mark.parametrize("known", [True, False])
def test_a_small_picture_is_its_own_thumbnail(known: bool) -> None:
    assert thumbnail_of(media_files.png(), known=known) is None


def test_a_picture_of_few_pixels_is_its_own_thumbnail_unless_it_moves() -> None:
    assert thumbnail_of(encoded(grainy(SIDE, SIDE), "BMP")) is None
    frames = [grainy(SIDE // 2, SIDE // 2) for _ in range(20)]
    moving = encoded(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:])
    assert opened(thumbnail_of(moving)).size == (SIDE // 2, SIDE // 2)


@pytest.mark.parametrize(
    "body", [media_files.wav(400_000), media_files.mp3(400_000), media_files.SVG + b" " * 400_000]
)
@pytest.mark.parametrize("known", [True, False])
def test_only_pictures_are_copied(body: bytes, known: bool) -> None:
    source = source_of(body, known=known)
    assert PictureCopy().of(source) is source


def test_a_picture_that_is_known_to_be_small_is_not_even_looked_at() -> None:
    def untouched() -> Iterator[bytes]:
        raise AssertionError
        yield

    source = MediaSource(untouched(), content_length=SMALL_BYTES)
    assert PictureCopy().of(source) is source


@pytest.mark.parametrize("known", [True, False])
def test_files_over_the_bound_pass_without_a_copy(known: bool) -> None:
    assert thumbnail_of(LARGE_PNG, known=known, max_bytes=len(LARGE_PNG)) is not None
    assert thumbnail_of(LARGE_PNG, known=known, max_bytes=len(LARGE_PNG) - 1) is None


@pytest.mark.parametrize(("format", "side"), [("PNG", 7000), ("JPEG", 7000), ("GIF", 4000)])
def test_a_picture_of_too_many_pixels_is_not_decoded(format: str, side: int) -> None:
    bomb = encoded(Image.new("L", (side, side)), format) + bytes(SMALL_BYTES)
    assert thumbnail_of(bomb) is None


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_nor_is_one_that_pillow_itself_warns_of() -> None:
    bomb = encoded(Image.new("1", (11_000, 11_000)), "PNG") + bytes(SMALL_BYTES)
    assert thumbnail_of(bomb) is None


@pytest.mark.parametrize("body", [LARGE_PNG[:-50_000], LARGE_PNG[:40] + bytes(len(LARGE_PNG) - 40)])
def test_a_picture_that_cannot_be_decoded_gets_none(body: bytes) -> None:
    assert thumbnail_of(body) is None


def test_a_full_disk_costs_the_thumbnail_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert thumbnail_of(LARGE_PNG, memory_bytes=1000) is None


@pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("buffer", [64 * 1024, 8 * 1024**2], ids=["while it is copied", "when it is closed"])
def test_a_disk_that_fills_up_costs_the_thumbnail_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, store: Store, buffer: int
) -> None:
    """What is still in the buffer is written once more on closing, which fails as well."""
    monkeypatch.setattr(thumbnails, "SpooledTemporaryFile", lambda size: FULL.open("w+b", buffer))
    with PictureCopy() as copy:
        stored = store.put_output("b/outputs/0", copy.of(source_of(LARGE_PNG)), {})
        assert copy.thumbnail() is None
    assert store.read(stored.key) == LARGE_PNG


def test_what_interrupts_the_body_interrupts_the_copy() -> None:
    def cut() -> Iterator[bytes]:
        yield LARGE_PNG[: SMALL_BYTES * 2]
        raise OutputError("the origin is gone", reason="unavailable")

    with PictureCopy() as copy, pytest.raises(OutputError, match="gone"):
        list(copy.of(MediaSource(cut())).chunks())


def test_one_picture_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    running = threading.Semaphore(0)
    shrunk = thumbnails._shrunk

    def counted(file: object) -> bytes | None:
        running.release()
        at_once.append(running._value)
        try:
            return shrunk(file)  # type: ignore[arg-type]
        finally:
            running.acquire()

    monkeypatch.setattr(thumbnails, "_shrunk", counted)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(thumbnail_of, [LARGE_PNG] * 8))
    assert at_once == [1] * 8
