"""What a stack has used up so far: rows of its database, requests to its bucket, processor time."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from benchmarks.counted import CountedWay, counted_way
from benchmarks.stack.stack import Stack
from prefect_imagine.stores import open_store

TABLES = (
    "flow_run",
    "flow_run_state",
    "task_run",
    "task_run_state",
    "task_run_state_cache",
    "events",
    "event_resources",
    "log",
    "artifact",
    "artifact_collection",
)
UNCOUNTED = "PostgreSQL"
"""The service whose processor time is not known: its processes have sessions of their own."""
QUIET_TABLES = ("rows task_run_state", "rows log")
QUIET_SECONDS = 15.0
"""Events are written within a few seconds."""
SETTLE_SECONDS = 300.0
Counts = dict[str, float]
_TICKS = os.sysconf("SC_CLK_TCK")


class CountedStack(Stack):
    """A stack whose workers and runs reach the bucket by a way on which requests are counted."""

    way: CountedWay | None = None

    def counts(self) -> Counts:
        """Everything so far, by name: `rows <table>`, `S3 <kind>`, `CPU <service>` in seconds, and sizes in
        bytes."""
        assert self.way is not None
        counted: Counts = {f"S3 {kind}": count for kind, count in self.way.counts.items()}
        counted |= asyncio.run(self._rows())
        counted["S3 objects"] = self._objects()
        for service in self._services:
            if service.name == UNCOUNTED:
                continue
            name = "CPU workers and runs" if service.name.startswith("worker-") else f"CPU {service.name}"
            counted[name] = counted.get(name, 0.0) + sum(map(_seconds, service.processes()))
        return counted

    def settled(self) -> Counts:
        """Everything so far, once all that a batch has left is written: no more states of task runs come, nor
        lines of logs."""
        deadline = time.monotonic() + SETTLE_SECONDS
        rows: Counts = {}
        while (later := asyncio.run(self._rows())) and time.monotonic() < deadline:
            if rows and all(rows[name] == later[name] for name in QUIET_TABLES):
                break
            rows = later
            time.sleep(QUIET_SECONDS)
        return self.counts()

    def kinds_of_events(self) -> Counter[str]:
        """All events by their names."""
        return asyncio.run(self._events())

    def _start_prefect(self, database: str, redis: str) -> None:
        self.way = self._open.enter_context(counted_way(self.s3.endpoint))
        super()._start_prefect(database, redis)

    def _of_client(self, name: str) -> dict[str, str]:
        assert self.way is not None
        return super()._of_client(name) | {"AWS_ENDPOINT_URL": self.way.endpoint}

    def _objects(self) -> int:
        with closing(self.s3.client()) as client, closing(open_store(self.output, client=client)) as store:
            return sum(1 for _ in store.list(""))

    async def _rows(self) -> Counts:
        connection = await asyncpg.connect(self.database)
        try:
            counted: Counts = {}
            for table in TABLES:
                counted[f"rows {table}"] = await connection.fetchval(f'SELECT count(*) FROM "{table}"')
            counted["database bytes"] = await connection.fetchval("SELECT pg_database_size('postgres')")
            counted["WAL bytes"] = int(
                await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
            )
            return counted
        finally:
            await connection.close()

    async def _events(self) -> Counter[str]:
        connection = await asyncpg.connect(self.database)
        try:
            found = await connection.fetch("SELECT event, count(*) AS number FROM events GROUP BY event")
            return Counter({row["event"]: row["number"] for row in found})
        finally:
            await connection.close()


def _seconds(pid: int) -> float:
    """Processor seconds of a process and of those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS
