"""The sandbox's time: real time that can be moved forward, and the time a provider claims it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate


class Clock:
    """Epoch seconds. `advance` makes everything older at once: jobs, rate-limit windows, tokens."""

    def __init__(self) -> None:
        self._advanced = 0.0
        self._date = (-1, "")

    def now(self) -> float:
        return time.time() + self._advanced

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time goes forward only")
        self._advanced += seconds

    def http_date(self, offset: float) -> str:
        """The `Date` header of a provider whose clock is `offset` seconds ahead."""
        second = int(self.now() + offset)
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def iso_z(moment: float) -> str:
    """`2025-01-09T12:00:00Z`, as ImagineLab and AI Visual Studio write times."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_offset(moment: float) -> str:
    """`2023-03-18T10:42:19+00:00`, as Blockade Labs writes times."""
    return datetime.fromtimestamp(int(moment), UTC).isoformat()


def iso_milliseconds(moment: float) -> str:
    """`2023-07-19T20:17:31.000Z`, as Directus (ImagineAPI) writes times."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
