"""Pictures in the prompt's colours, each file composed in its own way, with the prompt written on them."""

from __future__ import annotations

import hashlib
import textwrap
import unicodedata
from colorsys import hls_to_rgb
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont, ImageOps

# Pillow's stubs mention numpy, which is not installed, in `resize` and `point`.
# pyright: reportUnknownMemberType=false

RGB = tuple[int, int, int]


_SPELLED = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d"}
    | {"ð": "d", "þ": "th", "\N{EN DASH}": "-", "\N{EM DASH}": "-"}
)


def draw(prompt: str, label: str, look: str, size: tuple[int, int]) -> Image.Image:
    """A gradient with the prompt and the label written on it: `look` composes it anew, deterministically."""
    picture = _background(_digest(prompt), _digest(look), size)
    pen = ImageDraw.Draw(picture)
    width, height = size
    points = max(8, min(width, height) // 16)
    written = drawable(prompt[:400])
    lines = textwrap.wrap(written, width=max(8, int(width / points * 1.7))) or ["(no prompt)"]
    _write(pen, (points, points), "\n".join(lines[:8]), points)
    _write(pen, (points, height - 2 * points), label[:80], max(7, points * 2 // 3))
    return picture


def drawable(text: str) -> str:
    """The text in the letters that the font has: it has none with accents, and few beside ASCII."""
    plain = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _background(prompt: bytes, look: bytes, size: tuple[int, int]) -> Image.Image:
    hue = prompt[0] / 256 + look[0] / 1500
    dark, middle, light = _shade(hue, 0.22), _shade(hue + 0.08, 0.45), _shade(hue + 0.2, 0.72)
    field = _ramp(look[1] % 8).resize(size, Image.Resampling.BILINEAR)
    picture = ImageOps.colorize(field, dark, light, middle)
    glow = _disc().resize(size, Image.Resampling.BILINEAR)
    picture.paste(_shade(hue + 0.45, 0.6), mask=_shift(glow, look[2], look[3]))
    return picture


@lru_cache(maxsize=8)
def _ramp(turn: int) -> Image.Image:
    wide = Image.linear_gradient("L").rotate(45 * turn, resample=Image.Resampling.BILINEAR)
    return wide.crop((48, 48, 208, 208))


@lru_cache(maxsize=1)
def _disc() -> Image.Image:
    """A soft disc that has faded to nothing before it reaches an edge."""
    return Image.radial_gradient("L").point([max(0, 180 - level) for level in range(256)])


def _shift(mask: Image.Image, across: int, down: int) -> Image.Image:
    width, height = mask.size
    moved = Image.new("L", mask.size)
    moved.paste(mask, ((across - 128) * width // 320, (down - 128) * height // 320))
    return moved


def _shade(hue: float, lightness: float) -> RGB:
    red, green, blue = hls_to_rgb(hue % 1.0, lightness, 0.6)
    return int(red * 255), int(green * 255), int(blue * 255)


def _write(pen: ImageDraw.ImageDraw, where: tuple[int, int], text: str, points: int) -> None:
    pen.text(where, text, font=_font(points), fill="white", stroke_width=1, stroke_fill=(20, 20, 30))


@lru_cache(maxsize=16)
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)
