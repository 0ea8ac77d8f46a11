"""What Prefect's database knows of task runs: each of ours goes through three states, and what was lost on
the way is in no table."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import asyncpg  # type: ignore[import-untyped]

STATES = 3
"""Pending, Running and the last one."""
_QUIET_SECONDS = 5.0
_SETTLE_SECONDS = 120.0
_RECORDED = f"""
    SELECT count(*) AS runs, coalesce(sum(greatest(0, {STATES} - states.number)), 0) AS states
    FROM task_run
    LEFT JOIN LATERAL (
        SELECT count(*) AS number FROM task_run_state WHERE task_run_id = task_run.id
    ) AS states ON true
"""
_EVENTS = "SELECT count(*) FROM events WHERE event LIKE 'prefect.task-run.%'"


@dataclass(frozen=True)
class Recorded:
    """What is known of task runs.

    Attributes:
        runs: how many there are.
        lost_states: states that are missing of them.
        events: what was kept of their events.
    """

    runs: int = 0
    lost_states: int = 0
    events: int = 0

    @property
    def lost_events(self) -> int:
        """How many events there should be beyond those."""
        return max(0, STATES * self.runs - self.events)


def recorded(database: str) -> Recorded:
    """What a database knows, once nothing more comes: events are written within a few seconds."""
    deadline, before = time.monotonic() + _SETTLE_SECONDS, None
    while (now := asyncio.run(_recorded(database))) != before and time.monotonic() < deadline:
        before = now
        time.sleep(_QUIET_SECONDS)
    return now


async def _recorded(database: str) -> Recorded:
    connection = await asyncpg.connect(database)
    try:
        found = await connection.fetchrow(_RECORDED)
        return Recorded(found["runs"], found["states"], await connection.fetchval(_EVENTS))
    finally:
        await connection.close()
