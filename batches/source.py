"""Where prompts come from: a file, an S3 object, or standard input's bytes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from prefect_imagine.batches.formats import Problems, format_of
from prefect_imagine.batches.prompts import Asked, Defaults, read_prompts
from prefect_imagine.batches.templates import variables
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import open_store

LARGEST = 256 * 1024**2


def read_source(source: str) -> bytes:
    """The bytes of a prompts file by path or s3:// address. Raises `ConfigurationError`."""
    if source.startswith("s3://"):
        folder, _, name = source.rpartition("/")
        store = open_store(folder)
        try:
            data = store.read(name)
        except StoreError as error:
            raise ConfigurationError(f"{source} cannot be read: {error}") from error
        finally:
            store.close()
        if data is None:
            raise ConfigurationError(f"there is no {source}")
        return data
    path = Path(source).expanduser()
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigurationError(f"{source} is larger than {LARGEST // 1024**2} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror or error}") from error


def asked_in(
    source: str,
    file_format: str | None,
    defaults: Defaults,
    at: datetime,
    problems: Problems | None = None,
) -> list[Asked]:
    """The generations that a prompts file asks for. Raises `ConfigurationError`; what is wrong with single
    prompts goes to `problems`, where given."""
    known = file_format or format_of(source)
    return read_prompts(read_source(source), known, defaults, variables(at), problems)
