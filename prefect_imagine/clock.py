"""Clocks: one that runs through suspend, and the provider's own; and time zones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from prefect_imagine.errors import ConfigurationError

# macOS has none by this name: its CLOCK_MONOTONIC runs through sleep, and `time.monotonic` does not.
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Seconds on a clock that nobody sets, that all processes of a machine share, and that runs on while
    the machine sleeps."""
    return time.clock_gettime(_BOOT_CLOCK)


def utc_now() -> datetime:
    """This machine's idea of now; only for records that people read."""
    return datetime.now(UTC)


def zone_of(time_zone: str) -> ZoneInfo:
    """A time zone by its name. Raises `ConfigurationError`."""
    try:
        return ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"there is no time zone {time_zone!r}: use a name such as UTC or Europe/Berlin"
        ) from error


class Deadline:
    """A moment on the boot clock after which something must not be begun any more."""

    def __init__(self, seconds: float) -> None:
        self._at = boot_seconds() + seconds

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return boot_seconds() >= self._at


def answered_at(headers: Mapping[str, str]) -> float | None:
    """The moment of an answer by its sender's clock (epoch seconds): its `Date`, and the `Age` that it has
    reached in a cache since; `None` where it does not say."""
    try:
        date = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
    age = headers.get("age", "").strip()
    return date + (int(age) if age.isdecimal() and len(age) < 10 else 0)


class ProviderClock:
    """The provider's time, learned from its `Date` headers, so that a wrong clock here does not matter."""

    def __init__(self) -> None:
        self._offset: float | None = None

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the time from an answer. `Date` has whole seconds: the middle of the second is assumed."""
        answered = answered_at(headers)
        if answered is not None:
            self._offset = answered + 0.5 - boot_seconds()

    @property
    def known(self) -> bool:
        """Whether the provider has answered at all."""
        return self._offset is not None

    def now(self) -> datetime:
        """The provider's now; this machine's, before the provider has reported its own."""
        if self._offset is None:
            return utc_now()
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=boot_seconds() + self._offset)
