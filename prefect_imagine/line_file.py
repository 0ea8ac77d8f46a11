"""Lines on disk, looked through as often as need be: there may be more of them than fit into memory."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

IN_MEMORY = 4 * 1024**2
"""Bytes beyond which they go to disk."""
_READ = 256 * 1024


class LineFile:
    """Lines, in order. Belongs to one thread at a time; its file goes with it.

    Attributes:
        file: all lines, each with its end.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._count = 0
        file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 for as long as this lives
        weakref.finalize(self, file.close)
        self.file = cast(BinaryIO, file)
        for line in lines:
            self.file.write(line + b"\n")
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        place, rest = 0, b""
        while True:
            self.file.seek(place)  # another look may have been at another place meanwhile
            data = self.file.read(_READ)
            if not data:
                return
            place += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
