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
from typing import Protocol, TypeVar

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits.pace import Pace

logger = logging.getLogger(__name__)
T = TypeVar("T")
_FORGET_AFTER = 600.0
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

    def update(self, change: Callable[[Pace], tuple[Pace, T]]) -> T:
        """Apply a change under the file's lock."""
        if boot_seconds() < self._alone_until or not self._lock():
            return self._alone.update(change)
        try:
            pace, result = change(self._read())
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

    def _read(self) -> Pace:
        return _saved_pace(os.pread(self._fd, _FILE_BYTES, 0)) or Pace()

    def _write(self, pace: Pace) -> None:
        # Each of two requests a generation writes it: padding costs less than cutting the file to its length.
        data = json.dumps({**vars(pace), "saved_at": boot_seconds()}).encode().ljust(_FILE_BYTES)
        os.pwrite(self._fd, data, 0)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._fd)


def _saved_pace(data: bytes) -> Pace | None:
    # A reboot restarts the boot clock and a long silence outdates what was learned: both start afresh.
    try:
        saved = json.loads(data)
        age = boot_seconds() - saved.pop("saved_at")
        return Pace(**saved) if 0 <= age < _FORGET_AFTER else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def machine_pace(name: str) -> Pace | None:
    """What the processes of this machine know together under a name, if they have learned it lately."""
    try:
        return _saved_pace(_pace_file(name).read_bytes())
    except (OSError, RuntimeError):
        return None


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
