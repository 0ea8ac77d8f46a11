"""Where prompts come from: a file, an S3 object, or standard input's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.prompts.formats import Problems, format_of
from prefect_imagine.prompts.requested import Defaults, RequestedItem, read_prompts
from prefect_imagine.stores import open_store

LARGEST = 256 * 1024**2


def read_source(source: str, largest: int = LARGEST) -> bytes:
    """The bytes of a prompts file by path or s3:// address.

    Args:
        largest: bytes that are taken.

    Raises:
        ConfigurationError: it cannot be read, or is larger.
    """
    if source.startswith("s3://"):
        return _read_object(source, largest)
    try:
        with Path(source).expanduser().open("rb") as file:
            return read_stream(file, source, largest)
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror or error}") from error


def read_stream(stream: BinaryIO, name: str, largest: int = LARGEST) -> bytes:
    """All bytes of a stream that ends in time. Raises `ConfigurationError`, by this name."""
    data = stream.read(largest + 1)
    _check_size(len(data), name, largest)
    return data


def _read_object(source: str, largest: int) -> bytes:
    folder, _, name = source.rpartition("/")
    with closing(open_store(folder)) as store:
        try:
            known = store.head(name)
            _check_size(known.size if known else 0, source, largest)
            data = store.read(name)  # which distinguishes a missing bucket from a missing object
        except StoreError as error:
            raise ConfigurationError(f"{source} cannot be read: {error}") from error
    if data is None:
        raise ConfigurationError(f"there is no {source}")
    return data


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
    problems: Problems | None = None,
) -> list[RequestedItem]:
    """The generations that a prompts file asks for. Raises `ConfigurationError`; what is wrong with single
    prompts goes to `problems`, where given."""
    known = file_format or format_of(source)
    return read_prompts(read_source(source), known, defaults, variables, problems)
