"""Which batch a job belongs to, while the store is slow or fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.index import ACTIVE, put_mark
from prefect_imagine.batches.plan import Alternative, write_plan
from prefect_imagine.batches.records import Instead, Refused
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.models import Estimate
from prefect_imagine.stores import StoredObject
from prefect_imagine.webhooks.known_jobs import KnownJobs
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import AT, created, intent
from tests.engine.fake_provider import plan_of
from tests.engine.waiting import until
from tests.webhooks.test_receiver import BATCH, JOB, write, write_batch

STUDIO = "aivisualstudio"


class GatedStore(MemoryStore):
    """A store whose first list of active batches waits for a gate, or that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.fails = False
        self.looks = 0

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        if prefix == ACTIVE and threading.current_thread() is not threading.main_thread():
            self.looks += 1
            if self.looks == 1:
                self.gate.wait(60)
            if self.fails:
                raise StoreError("the store fails", retryable=False)
        return super().list(prefix, after=after)


@pytest.fixture
async def jobs() -> tuple[KnownJobs, GatedStore]:
    store = GatedStore()
    write_batch(store, intent(), created(job=JOB))
    return KnownJobs(store, Blocking(patience=1.0), every=0.0), store


async def test_a_look_that_nobody_waits_for_any_more_goes_on_alone(
    jobs: tuple[KnownJobs, GatedStore],
) -> None:
    known, store = jobs
    first = asyncio.ensure_future(known.refresh())
    await until(lambda: store.looks == 1)
    first.cancel()
    second = asyncio.ensure_future(known.refresh())
    done, _ = await asyncio.wait(
        [second], timeout=0.3
    )  # in which it would end, did it not wait for the first
    assert not done
    store.gate.set()
    await second
    assert known.batch_of("aivisualstudio", JOB) == BATCH


async def test_whoever_waited_for_a_look_that_failed_does_not_take_it_for_one(
    jobs: tuple[KnownJobs, GatedStore],
) -> None:
    known, store = jobs
    store.fails = True
    both = [asyncio.ensure_future(known.refresh()) for _ in range(2)]
    await until(lambda: store.looks == 1)
    store.gate.set()
    ended = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in ended] == [StoreError, StoreError]


async def test_a_job_of_an_item_that_another_provider_creates_is_told_by_that_one() -> None:
    price = Estimate(credits=5, source="catalog")
    ways = [Alternative(provider=name, settings={}, estimate=price) for name in ("imaginelab", STUDIO)]
    plan = plan_of("a kite", batch_id=BATCH, provider="imaginelab")
    items = (replace(plan.items[0], alternatives=tuple(ways)),)
    refused = Refused(item=1, at=AT, attempt=1, final=True, reason="refused", message="no")
    instead = Instead(item=1, at=AT, alternative=1)
    before, after = MemoryStore(), MemoryStore()
    for store, first in ((before, [intent()]), (after, [intent(), refused, instead])):
        write_plan(store, replace(plan, items=items))
        write(store, 1, *first)
        put_mark(store, BATCH, 1, 1)
    known = [KnownJobs(store, Blocking(patience=1.0), every=0.0) for store in (before, after)]
    for each in known:
        await each.refresh()
    assert known[0].may_come("imaginelab")
    there = intent().model_copy(update={"alternative": 1})
    write(before, 2, refused, instead, there, created(job=JOB))
    write(after, 2, there, created(job=JOB))
    for each in known:
        await each.refresh()
        assert (each.batch_of(STUDIO, JOB), each.batch_of("imaginelab", JOB)) == (BATCH, None)
