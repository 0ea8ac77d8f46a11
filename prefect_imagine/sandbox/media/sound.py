"""A short tone for voice and music: cheap to make, different for different prompts."""

from __future__ import annotations

import hashlib
import math
import sys
from array import array
from functools import lru_cache

RATE = 8000
NOTE_SECONDS = 0.25
SCALE = (0, 2, 4, 7, 9, 12, 14, 16)


def tone(prompt: str) -> tuple[int, bytes]:
    """Samples a second, and 1.5 seconds of 16-bit mono samples: six notes chosen by the prompt."""
    digest = hashlib.sha256(prompt.encode("utf-8", "replace")).digest()
    notes = [_note(SCALE[byte % len(SCALE)] + digest[0] % 12) for byte in digest[1:7]]
    return RATE, b"".join(notes)


@lru_cache(maxsize=64)
def _note(semitones: int) -> bytes:
    step = 2 * math.pi * 220 * 2 ** (semitones / 12) / RATE
    count = int(RATE * NOTE_SECONDS)
    samples = array("h", (int(12_000 * (1 - at / count) * math.sin(step * at)) for at in range(count)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
