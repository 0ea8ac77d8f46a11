"""Where the pace of a key is kept: in memory, or in a file that all processes of a machine share."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits.pace import Pace

logger = logging.getLogger(__name__)
T = TypeVar("T")
_FORGET_AFTER = 600.0
_RENEW_AFTER = 60.0
_LOCK_SECONDS = 0.25
_FILE_BYTES = 4096
_ALONE_SECONDS = 10.0


class PaceStore(Protocol):
    """Where the pace of a key is kept."""

    def update(self, change: Callable[[Pace], tuple[Pace, T]]) -> T:
        """Apply a change; nobody else sees or writes the pace meanwhile."""


class MemoryPaceStore:
    """The pace of a key that only this process uses."""

    def __init__(self) -> None:
        self._pace = Pace()

    def update(self, change: Callable[[Pace], tuple[Pace, T]]) -> T:
        """Apply a change."""
        self._pace, result = change(self._pace)
        return result


class _Saved(NamedTuple):
    """A pace as it lies in a file, and when it was saved (boot clock)."""

    data: bytes
    pace: Pace
    at: float

    @property
    def outdated(self) -> bool:
        """A reboot restarts the boot clock, and a long silence outdates what was learned."""
        return not 0 <= boot_seconds() - self.at < _FORGET_AFTER

    @classmethod
    def read(cls, data: bytes) -> _Saved | None:
        """What a file says; `None` where it says nothing that can be read."""
        try:
            saved = json.loads(data)
            at = float(saved.pop("saved_at"))
            return cls(data, Pace(**saved), at)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    @classmethod
    def now(cls, pace: Pace) -> _Saved:
        """As it is written now."""
        at = boot_seconds()
        # Each of two requests a generation writes it: padding costs less than cutting the file to its length.
        data = json.dumps({**vars(pace), "saved_at": at}).encode().ljust(_FILE_BYTES)
        return cls(data, pace, at)


_NOTHING = _Saved(b"", Pace(), -_FORGET_AFTER)


class FilePaceStore:
    """The pace of a key in a locked file, exact for all processes of a machine.

    A process that was stopped while it held the lock must not stop the others: for a while they pace
    themselves alone.

    Args:
        patience: seconds that it waits for the lock.
    """

    def __init__(self, path: Path, *, patience: float = _LOCK_SECONDS) -> None:
        self._patience = patience
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._alone = MemoryPaceStore()
        self._alone_until = 0.0
        self._last = _NOTHING

    def update(self, change: Callable[[Pace], tuple[Pace, T]]) -> T:
        """Apply a change under the file's lock."""
        if boot_seconds() < self._alone_until or not self._lock():
            return self._alone.update(change)
        try:
            known = self._read()
            pace, result = change(known.pace)
            if pace is not known.pace or boot_seconds() - known.at > _RENEW_AFTER:
                self._write(pace)
            self._alone.update(lambda _: (pace, None))
            return result
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        tried_until = boot_seconds() + self._patience
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if boot_seconds() > tried_until:
                    self._alone_until = boot_seconds() + _ALONE_SECONDS
                    return False
                time.sleep(0.0005)  # it is held for microseconds, by whoever runs
            else:
                return True

    def _read(self) -> _Saved:
        data = os.pread(self._fd, _FILE_BYTES, 0)
        if data != self._last.data:
            self._last = _Saved.read(data) or _NOTHING
        return _NOTHING if self._last.outdated else self._last

    def _write(self, pace: Pace) -> None:
        self._last = _Saved.now(pace)
        os.pwrite(self._fd, self._last.data, 0)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._fd)


def machine_pace(name: str) -> Pace | None:
    """What the processes of this machine know together under a name, if they have learned it lately."""
    try:
        saved = _Saved.read(_pace_file(name).read_bytes())
    except (OSError, RuntimeError):
        return None
    return None if saved is None or saved.outdated else saved.pace


def _pace_file(name: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "prefect-imagine" / "pace" / f"{name}.json"


def machine_pace_store(name: str) -> PaceStore:
    """The cell that all processes of this user on this machine share under a name."""
    try:
        return FilePaceStore(_pace_file(name))
    except (OSError, RuntimeError) as error:
        logger.warning("rate limits are not shared with other processes: %s", error)
        return MemoryPaceStore()
