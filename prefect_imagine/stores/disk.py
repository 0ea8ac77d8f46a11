"""Durable files: what is synced, in which order, and what an operating system's error means to people."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from prefect_imagine.errors import StoreError

ABANDONED_SECONDS = 24 * 3600

_HINTS = {
    errno.EACCES: "give this user write access",
    errno.EPERM: "give this user write access, or choose a file system with hard links",
    errno.EROFS: "it is mounted read-only: choose another folder",
    errno.ENOTDIR: "a part of this path is a file: choose another folder",
    errno.EEXIST: "a part of this path is a file: choose another folder",
    errno.EISDIR: "a folder is in the way: move it",
    errno.ENAMETOOLONG: "choose shorter names",
    errno.ELOOP: "its symbolic links go round in circles",
    errno.ENOTSUP: "choose a file system with hard links",
    errno.EXDEV: "choose a folder that lies on one file system",
    errno.ENOSPC: "free some space and resume",
    errno.EDQUOT: "free some of the quota and resume",
}
_PASSING = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Raise what the operating system refuses as a `StoreError` that says what to do."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        message = f"{path}: {error.strerror or error}" + (f"; {hint}" if hint else "")
        retryable = hint is None or error.errno in _PASSING
        raise StoreError(message, retryable=retryable) from error


def flush(file: BinaryIO) -> None:
    """Bring the file's bytes to the disk."""
    file.flush()
    os.fsync(file.fileno())


def replace(temporary: BinaryIO, path: Path) -> None:
    """Give a flushed file its final name, durably."""
    make_folder(path.parent)
    os.replace(temporary.name, path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create the folder durably: a synced file in a folder whose own entry is lost would be lost too."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk, where its file system knows how."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove temporaries that killed processes left long ago; a living download ends well before."""
    with tempfile.TemporaryFile(dir=folder) as file:
        limit = os.fstat(file.fileno()).st_mtime - ABANDONED_SECONDS
    for left in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < limit:
                left.unlink()
