"""Both kinds of store, and a small web server to download from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Downloader, Store, open_store
from tests.batches.memory_store import MemoryStore
from tests.stores.origin import Origin, start_origin

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def s3_client(aws: S3Server) -> Iterator[S3Client]:
    """A client with boto3's own settings, to look behind the store."""
    client = aws.client()
    yield client
    client.close()


@pytest.fixture
def bucket(aws: S3Server) -> str:
    return aws.make_bucket()


@pytest.fixture
def s3_store(bucket: str) -> Iterator[Store]:
    store = open_store(f"s3://{bucket}/some/prefix")
    yield store
    store.close()


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


@pytest.fixture
def memory_store() -> Store:
    return MemoryStore()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with start_origin() as running:
        yield running


@pytest.fixture(scope="session")
def other_origin() -> Iterator[Origin]:
    with start_origin() as running:
        yield running


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    found = Downloader()
    yield found
    found.close()
