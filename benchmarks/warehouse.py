"""`python -m benchmarks.warehouse ITEMS`: what a load into DuckDB takes of a root with so many stored items.

The root is written as runs leave it: shards of 5,000 items, fifty records a segment.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect_imagine.batches.plan import BatchItem, Plan, make_item_id, write_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import (
    AnyItemRecord,
    Created,
    Finished,
    Header,
    Intent,
    Stored,
    to_line,
)
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.providers.models import Estimate, GenerationRequest, GenerationStatus, Output
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse.load import Target, load

BATCH = "large"
SHARD = 5000
SEGMENT = 50
AT = datetime(2026, 11, 1, tzinfo=UTC)
MEGABYTE = 1024


def write_root(store: Store, items: int) -> None:
    """A batch of so many items, all of them stored."""
    for shard, first in enumerate(range(1, items + 1, SHARD), 1):
        plan = [_item(index) for index in range(first, min(first + SHARD, items + 1))]
        write_plan(store, Plan(BATCH, AT, tuple(plan), shard))
        _write_journal(store, shard_path(BATCH, shard), list(_records(plan)))


def _write_journal(store: Store, path: str, records: Sequence[AnyItemRecord]) -> None:
    for seq, start in enumerate(range(0, len(records), SEGMENT), 1):
        segment = records[start : start + SEGMENT]
        lines = [to_line(Header(seq=seq, writer="w", lines=len(segment))), *map(to_line, segment)]
        store.put_new(segment_key(path, seq), b"".join(lines))


def _item(index: int) -> BatchItem:
    request = GenerationRequest(
        provider="aivisualstudio",
        prompt=f"picture {index} of a red fox in the snow at dawn",
        model="prunaai/z-image-turbo",
        labels={"team": "birds"},
    )
    item_id = make_item_id(BATCH, index, request.fingerprint)
    estimate = Estimate(credits=5, source="catalog")
    return BatchItem(
        index=index, item_id=item_id, asked=request.fingerprint, request=request, estimate=estimate
    )


def _records(plan: Sequence[BatchItem]) -> Iterator[AnyItemRecord]:
    for item in plan:
        index, job = item.index, f"gen_{item.index:012}"
        output = Output(key=f"outputs/{index:05}.png", bytes=1234, sha256="0" * 64, media_type="image/png")
        yield Intent(item=index, at=AT, attempt=1, provider_at=AT, boot="b", boot_at=1.0)
        yield Created(item=index, at=AT, attempt=1, id=job, credits=5)
        yield Finished(item=index, at=AT, id=job, status=GenerationStatus.SUCCEEDED, credits=5)
        yield Stored(item=index, at=AT, outputs=(output,))


def _measured(root: str, target: Target) -> None:
    begin, busy = time.perf_counter(), time.process_time()
    loaded = load(root, target)
    rows, seconds = sum(loaded.rows.values()), time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
    processor = time.process_time() - busy
    print(f"{rows} rows in {seconds:.1f} s ({processor:.1f} s of a processor), peak {peak:.0f} MB")


def main(items: int) -> None:
    """Measure the first load, and one after which nothing is new."""
    with tempfile.TemporaryDirectory() as folder:
        root, target = f"{folder}/root", Target(database=str(Path(folder) / "large.duckdb"))
        write_root(open_store(root), items)
        _measured(root, target)
        _measured(root, target)


if __name__ == "__main__":
    main(int(sys.argv[1]))
