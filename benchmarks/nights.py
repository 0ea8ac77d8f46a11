"""Batches of earlier nights, one a day, as runs that have settled leave them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from benchmarks.runs import Job
from prefect_imagine.batches.index import ensure_index, put_mark
from prefect_imagine.batches.origin import Origin, write_origin
from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import AnyItemRecord, Created, Finished, Header, Intent, Stored, to_line
from prefect_imagine.batches.shards import FIRST
from prefect_imagine.billing.root import Settled, list_settled, take_stock
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.clock import utc_now
from prefect_imagine.providers.models import Estimate, GenerationRequest, GenerationStatus
from prefect_imagine.stores import Store, open_store

ITEMS = 60


async def generate(job: Job) -> tuple[int, dict[str, Any]]:
    """Write `generations` nights, the first of them `first` days ago."""
    await asyncio.to_thread(_write_nights, job)
    return job.generations, {}


def _write_nights(job: Job) -> None:
    with closing(open_store(job.output)) as store:
        ensure_index(store)
        for days in range(job.first, job.first + job.generations):
            batch_id = f"night-{days:03}"
            _write_night(store, job.provider, batch_id, utc_now() - timedelta(days=days))
            put_mark(store, batch_id, FIRST, 1)
            _settle(store, batch_id)


def _write_night(store: Store, provider: str, batch_id: str, at: datetime) -> None:
    items = []
    for index in range(1, ITEMS + 1):
        request = GenerationRequest(provider=provider, prompt=f"{batch_id}, picture {index}")
        estimate = Estimate(credits=5, source="catalog")
        items.append(
            BatchItem(
                index=index,
                item_id=f"{index:08x}",
                asked=request.fingerprint,
                request=request,
                estimate=estimate,
            )
        )
    write_origin(store, Origin(batch_id=batch_id, source=None, created=at))
    write_plan(store, Plan(batch_id, at, tuple(items)))
    records = [record for item in items for record in _records(item.index, f"{batch_id}-{item.index}", at)]
    lines = [to_line(Header(seq=1, writer="benchmark", lines=len(records))), *map(to_line, records)]
    store.put(segment_key(batch_id, 1), b"".join(lines))


def _records(item: int, job: str, at: datetime) -> Iterator[AnyItemRecord]:
    yield Intent(item=item, at=at, attempt=1, provider_at=at, boot="", boot_at=0)
    yield Created(item=item, at=at, attempt=1, id=job, credits=5)
    yield Finished(item=item, at=at, id=job, status=GenerationStatus.SUCCEEDED)
    yield Stored(item=item, at=at, outputs=())


def _settle(store: Store, batch_id: str) -> None:
    books = take_stock(store, batch_id, FIRST)
    if not isinstance(books, Settlement):
        raise TypeError(f"{batch_id} has not settled")
    list_settled(store, batch_id, {FIRST: Settled(books.seq, books.last_create)})
