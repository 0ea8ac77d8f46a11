"""What a receiver counts lasts, adds up with what others count, and harms nobody who knows no counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_imagine.batches.inbox import RECEIVER, ReceiverState, read_receiver, receiver_seen_at
from prefect_imagine.stores import Store, open_store
from prefect_imagine.webhooks.counts import (
    COUNTS,
    LAG_BUCKETS,
    DeliveryCounts,
    Lag,
    add_delivery_counts,
    read_delivery_counts,
)
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import created, intent
from tests.webhooks.test_receiver import JOB, Said, receiver_of, write_batch

PROVIDER = "aivisualstudio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "root"))) as found:
        write_batch(found, intent(), created(job=JOB))
        yield found


async def test_a_receiver_that_begins_again_goes_on_counting(store: Store) -> None:
    for _ in range(2):
        async with receiver_of(store) as receiver:
            assert await receiver.post(f"/{PROVIDER}", Said().body, Said().headers) == 200
            assert await receiver.post("/whoever/dpr_secret", b"{}") == 404
            assert await receiver.post(f"/{PROVIDER}", Said().body, {}) == 401
    counts = read_delivery_counts(store)
    assert counts.outcomes[PROVIDER] == {"accepted": 1, "repeated": 1, "bad_signature": 2}
    assert counts.outcomes[""] == {"no_such_provider": 2}, "anybody may ask for any name"
    assert PROVIDER not in counts.lags, "this record does not tell when the job ended"
    sign = store.read(RECEIVER) or b""
    assert ReceiverState.model_validate_json(sign).delivered.keys() == {PROVIDER}
    assert read_receiver(store) is not None
    assert store.now() - (receiver_seen_at(store) or 0) < 60


async def test_how_late_a_delivery_comes_is_counted(store: Store) -> None:
    ended = datetime.now(UTC) - timedelta(seconds=40)
    said = Said(more={"completed_at": ended.isoformat()})
    async with receiver_of(store) as receiver:
        assert await receiver.post(f"/{PROVIDER}", said.body, said.headers) == 200
        assert await receiver.post(f"/{PROVIDER}", said.body, said.headers) == 200
    lag = read_delivery_counts(store).lags[PROVIDER]
    assert dict(zip(LAG_BUCKETS, lag.seconds, strict=False))[60] == sum(lag.seconds) == 1
    assert 40 <= lag.total_seconds < 60


def test_lags_before_the_end_are_none() -> None:
    assert Lag.of(-5) == Lag.of(0)
    assert Lag.of(10**6).seconds[-1] == 1


async def test_receivers_count_together() -> None:
    store = MemoryStore()
    one = DeliveryCounts.of(PROVIDER, "accepted")
    await asyncio.gather(*(asyncio.to_thread(add_delivery_counts, store, one) for _ in range(4)))
    assert read_delivery_counts(store).outcomes == {PROVIDER: {"accepted": 4}}


def test_counts_that_cannot_be_read_begin_anew(store: Store) -> None:
    store.put(COUNTS, b"torn")
    assert read_delivery_counts(store) == DeliveryCounts()
    store.put(COUNTS, b'{"outcomes":{"p":{"accepted":3}},"of_a_later_version":1}')
    assert read_delivery_counts(store).outcomes == {"p": {"accepted": 3}}
