"""Where prompts come from: a file, an S3 object, or standard input."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.prompts.formats import Problems, format_of
from prefect_imagine.prompts.requested import Defaults, read_prompts
from prefect_imagine.prompts.spool import Spool
from prefect_imagine.stores import open_store

LARGEST = 1024**3
"""Bytes of a prompts file."""
LARGEST_YAML = 64 * 1024**2
"""The same in YAML, which is read whole."""
_IN_MEMORY = 8 * 1024**2
_BLOCK = 1024**2


def open_source(source: str, largest: int = LARGEST) -> BinaryIO:
    """A prompts file by path or s3:// address, to be read more than once.

    Args:
        largest: bytes that are taken.

    Raises:
        ConfigurationError: it cannot be read, or is larger.
    """
    if source.startswith("s3://"):
        return _object(source, largest)
    try:
        return _opened(Path(source).expanduser(), source, largest)
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror or error}") from error


def _opened(path: Path, source: str, largest: int) -> BinaryIO:
    file = path.open("rb")
    try:
        if not path.is_file():  # a pipe or a device
            with file:
                return copy_of(file, source, largest)
        _check_size(file.seek(0, 2), source, largest)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def copy_of(stream: BinaryIO, name: str, largest: int = LARGEST) -> BinaryIO:
    """A copy of a stream that ends in time, which can be read more than once. Raises `ConfigurationError`, by
    this name."""
    return _kept(iter(lambda: stream.read(_BLOCK), b""), name, largest)


def _kept(pieces: Iterable[bytes], name: str, largest: int) -> BinaryIO:
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 handed on
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            _check_size(size, name, largest)
            file.write(piece)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _object(source: str, largest: int) -> BinaryIO:
    folder, _, name = source.rpartition("/")
    with closing(open_store(folder)) as store:
        try:
            known = store.head(name)
            _check_size(known.size if known else 0, source, largest)
            pieces = store.pieces(name)  # which distinguishes a missing bucket from a missing object
            if pieces is None:
                raise ConfigurationError(f"there is no {source}")
            return _kept(pieces, source, largest)
        except StoreError as error:
            raise ConfigurationError(f"{source} cannot be read: {error}") from error


def _check_size(size: int, name: str, largest: int) -> None:
    if size > largest:
        raise ConfigurationError(
            f"{name} is larger than {largest // 1024**2} MiB: split it, and each part is a batch of its own"
        )


def asked_in(
    source: str,
    file_format: str | None,
    defaults: Defaults,
    variables: Mapping[str, str],
    problems: Problems,
) -> Spool:
    """The generations that a prompts file asks for; what is wrong with single prompts goes to `problems`.
    Raises `ConfigurationError`."""
    known = file_format or format_of(source)
    with open_source(source, largest_of(known)) as file:
        return Spool(read_prompts(file, known, defaults, variables, problems))


def largest_of(file_format: str) -> int:
    """The bytes that a prompts file may have."""
    return LARGEST_YAML if file_format == "yaml" else LARGEST
