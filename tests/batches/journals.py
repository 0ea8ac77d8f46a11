"""Journals to write and records to write into them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.journal import SNAPSHOT_FROM, Journal
from prefect_imagine.batches.records import (
    Claim,
    Created,
    Intent,
)
from prefect_imagine.stores import Store
from tests.batches.memory_store import InterferedStore

AT = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    found = Blocking(patience=5.0)
    yield found
    found.close()


@pytest.fixture
def memory() -> InterferedStore:
    return InterferedStore()


def claim(owner: str = "me") -> Claim:
    return Claim(owner=owner, host="here", at=AT)


def intent(item: int = 1, attempt: int = 1) -> Intent:
    return Intent(item=item, at=AT, attempt=attempt, provider_at=AT, boot="b", boot_at=1.0)


def created(item: int = 1, attempt: int = 1) -> Created:
    return Created(item=item, at=AT, attempt=attempt, id=f"job-{item}-{attempt}", credits=5)


async def opened(
    store: Store, blocking: Blocking, owner: str = "me", *, snapshot_from: int = SNAPSHOT_FROM
) -> Journal:
    return await Journal.open(store, blocking, "b", claim(owner), snapshot_from=snapshot_from)


def segments(store: Store) -> list[str]:
    return [found.key for found in store.list("b/journal/")]
