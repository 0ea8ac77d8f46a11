"""What a receiver of webhooks has Prefect do: an event for each job that has ended, and a `collect` soon."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from prefect_imagine.batches.lease import who_runs
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.flows.traces import labels_of_trace
from prefect_imagine.stores import Store
from prefect_imagine.tasks.events import JobEnded, send
from prefect_imagine.webhooks import Ended

logger = logging.getLogger(__name__)

BUCKET_SECONDS = 15
"""Ends that come within one such span share a run of `collect`, at its end: none of them comes too late."""
ANSWER_SECONDS = 10.0
HELD_SECONDS = 10.0
"""How long it is believed that a process runs a batch, and needs no `collect`."""


class CollectSoon:
    """Announces ends of jobs, and has them collected. That Prefect is away harms no delivery: it is durable,
    and the schedule of `collect` comes upon it.

    Args:
        deployment: of `collect`, as `flow/deployment`; `None` to schedule nothing.
    """

    def __init__(self, store: Store, deployment: str | None, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._deployment = deployment
        self._now = now
        self._scheduled = -1
        self._held: dict[str, tuple[float, bool]] = {}
        self._complained = False

    async def __call__(self, ended: Ended) -> None:
        """A job has newly ended."""
        announce_job_ended(ended)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._deployment is not None and not await self._is_run(ended.batch_id):
                    await self._schedule(self._deployment)
        except Exception as error:  # Prefect's errors here are many, and a delivery is taken in all the same
            if not self._complained:
                logger.warning("no run of collect can be scheduled: %s", str(error) or type(error).__name__)
            self._complained = True

    async def _is_run(self, batch_id: str) -> bool:
        """Whether a process runs the batch, which takes the end in by itself."""
        known = self._held.get(batch_id)
        if known is None or known[0] + HELD_SECONDS < boot_seconds():
            known = boot_seconds(), await asyncio.to_thread(self._look, batch_id)
            self._held[batch_id] = known
        return known[1]

    def _look(self, batch_id: str) -> bool:
        numbers = shard_numbers(self._store, batch_id)
        return any(who_runs(self._store, shard_path(batch_id, each)) is not None for each in numbers)

    async def _schedule(self, deployment: str) -> None:
        bucket = math.floor(self._now().timestamp() / BUCKET_SECONDS)
        if bucket <= self._scheduled:
            return
        root = hashlib.sha256(self._store.address.encode()).hexdigest()[:16]
        at = datetime.fromtimestamp((bucket + 1) * BUCKET_SECONDS, UTC)
        async with get_client() as client:
            try:
                found = await client.read_deployment_by_name(deployment)
            except ObjectNotFound as error:
                raise LookupError(f"there is no deployment {deployment}") from error
            await client.create_flow_run_from_deployment(
                found.id,
                state=Scheduled(scheduled_time=at),
                idempotency_key=f"imagine-{root}-{bucket}",
                labels=labels_of_trace(),
            )
        self._scheduled = bucket
        self._complained = False


def announce_job_ended(ended: Ended) -> None:
    """A provider has delivered the end of a job. Told twice, it is one event."""
    event = JobEnded(provider=ended.provider, job=ended.job, believed=ended.believed)
    named = f"{event.NAME}/{ended.batch_id}/{ended.provider}/{ended.job}"
    send(event, ended.batch_id, id=uuid5(NAMESPACE_URL, named))
