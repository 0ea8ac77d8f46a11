"""What a scrape of the metrics costs beside settled batches, and how long the exporter takes to begin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from benchmarks.cases.settled import _write_nights
from benchmarks.counted import CountedWay, counted_way
from benchmarks.nights import ITEMS
from benchmarks.rig import Rig, small_pictures
from benchmarks.tables import Table
from prefect_imagine.batches.index import put_mark
from prefect_imagine.batches.origin import Origin, write_origin
from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import AnyItemRecord, Created, Header, Intent, to_line
from prefect_imagine.batches.shards import FIRST
from prefect_imagine.clock import utc_now
from prefect_imagine.providers.models import Estimate, GenerationRequest
from prefect_imagine.sandbox.server.s3 import S3Server, start_s3_server
from prefect_imagine.stores import Store, open_store

NIGHTS = (0, 365, 3650)
ACTIVE = 5
SCRAPES = 3
APART_SECONDS = 11.0
"""A sample is served again for ten seconds."""


def measure(rig: Rig) -> Table:
    """A night is a settled batch; five batches are active, and nothing happens in them meanwhile."""
    table = Table(
        "Scrapes of the metrics",
        f"On S3 on the same machine, {ACTIVE} active batches of {ITEMS} items each, and one settled batch of "
        "as many a night. Start: from the start of `metrics serve` to its first answer. A scrape: the median "
        f"of {SCRAPES}, and the requests to S3 of one.",
        (
            "settled batches",
            "start, s",
            "requests at the start",
            "a scrape, s",
            "requests of a scrape",
            "memory, MB",
        ),
    )
    nights = (0, 5) if rig.quick else NIGHTS
    with (
        start_s3_server(rig.folder / "scrapes-s3") as s3,
        counted_way(s3.endpoint) as way,
        small_pictures() as server,
    ):
        root, written = f"s3://{s3.make_bucket()}/art", 0
        _begin_some(s3, root)
        for count in nights:
            _write_nights(rig, server, s3, root, written, count)
            written = count
            table.add(count, *_costs(s3, way, root))
    return table


def _begin_some(s3: S3Server, root: str) -> None:
    os.environ.update(s3.environment)
    with closing(open_store(root)) as store:
        for number in range(ACTIVE):
            _begin(store, f"active-{number}")


def _begin(store: Store, batch_id: str) -> None:
    """A batch whose jobs are all under way."""
    at, records = utc_now(), list[AnyItemRecord]()
    items = []
    for index in range(1, ITEMS + 1):
        request = GenerationRequest(provider="aivisualstudio", prompt=f"{batch_id}, picture {index}")
        asked, estimate = request.fingerprint, Estimate(credits=5, source="catalog")
        item_id = f"{index:08x}"
        items.append(BatchItem(index=index, item_id=item_id, asked=asked, request=request, estimate=estimate))
        records.append(Intent(item=index, at=at, attempt=1, provider_at=at, boot="", boot_at=0))
        records.append(Created(item=index, at=at, attempt=1, id=f"{batch_id}-{index}", credits=5))
    write_origin(store, Origin(batch_id=batch_id, source=None, created=at))
    write_plan(store, Plan(batch_id, at, tuple(items)))
    lines = [to_line(Header(seq=1, writer="benchmark", lines=len(records))), *map(to_line, records)]
    store.put(segment_key(batch_id, 1), b"".join(lines))
    put_mark(store, batch_id, FIRST, 1)


def _costs(s3: S3Server, way: CountedWay, root: str) -> list[object]:
    way.counts.clear()
    begun = time.monotonic()
    with _exporter({**s3.environment, "AWS_ENDPOINT_URL": way.endpoint}, root) as (address, pid):
        _scrape(address)
        start, at_start = time.monotonic() - begun, _shown(way.counts)
        seconds = []
        for _ in range(SCRAPES):
            time.sleep(APART_SECONDS)
            way.counts.clear()
            begun = time.monotonic()
            _scrape(address)
            seconds.append(time.monotonic() - begun)
        return [start, at_start, sorted(seconds)[SCRAPES // 2], _shown(way.counts), _memory(pid)]


@contextmanager
def _exporter(environment: dict[str, str], root: str) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "prefect_imagine", "metrics", "serve", "--port", "0", "--output", root]
    with subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        found = re.match(r"http://\S+?/metrics", process.stderr.readline().decode())
        if found is None:
            raise RuntimeError("the exporter does not say where it is")
        try:
            yield found[0], process.pid
        finally:
            process.terminate()


def _scrape(address: str) -> None:
    """Ask until there is an answer: the first look takes as long as it takes."""
    while True:
        try:
            with urlopen(address, timeout=60) as answer:
                answer.read()
                return
        except HTTPError as error:
            if error.code != 503:
                raise
        except URLError:
            time.sleep(0.1)


def _shown(counts: Counter[str]) -> str:
    return " + ".join(f"{counts[kind]} {kind}" for kind in ("GET", "HEAD", "LIST") if counts[kind])


def _memory(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")
