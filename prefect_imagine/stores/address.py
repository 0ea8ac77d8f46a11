"""From an address, as people write it, to a store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores.folder import FolderStore
from prefect_imagine.stores.keys import check_key
from prefect_imagine.stores.protocol import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def open_store(address: str, *, concurrency: int = 16, client: S3Client | None = None) -> Store:
    """The store at `s3://bucket/prefix`, at a folder's path or at a `file://` URL. Touches neither yet.

    S3's settings are AWS's own environment and files (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_PROFILE`, …;
    the region is us-east-1 where none is set), unless a ready client is given, which is not closed.
    `concurrency` is how many threads will use the store.

    Raises:
        ConfigurationError: the address is none of these, or AWS's settings cannot be used.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return FolderStore(_folder(address))
    if scheme[1].lower() == "s3":
        return _bucket(address, address[scheme.end() :], concurrency, client)
    if scheme[1].lower() == "file":
        url = urlsplit(address)
        if url.netloc not in ("", "localhost"):
            raise ConfigurationError(f"a file:// address has three slashes before its path: {address!r}")
        return FolderStore(_folder(unquote(url.path)))
    raise ConfigurationError(f"outputs go to a folder or to s3://bucket/prefix, not to {scheme[1]}://…")


def _folder(path: str) -> Path:
    if not path.strip() or "\0" in path:
        raise ConfigurationError(f"not a folder's path: {path!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"not a folder's path: {path!r} ({error})") from error


def _bucket(address: str, rest: str, concurrency: int, client: S3Client | None) -> Store:
    # boto3 takes a tenth of a second to import, which a folder need not pay.
    from prefect_imagine.stores.s3 import S3Store
    from prefect_imagine.stores.s3_client import make_client

    bucket, _, path = rest.partition("/")
    prefix = path.strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(f"an S3 address is s3://bucket/prefix: {address!r}")
    try:
        if prefix:
            check_key(prefix)
    except StoreError as error:
        raise ConfigurationError(f"not a prefix: {prefix!r}") from error
    owned = client is None
    used = make_client(concurrency) if client is None else client
    return S3Store(used, bucket, prefix, concurrency=concurrency, owns_client=owned)
