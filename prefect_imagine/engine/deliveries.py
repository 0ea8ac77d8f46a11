"""Brings what a receiver of webhooks has put into a batch's inbox to those who follow its jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.inbox import (
    BEAT_SECONDS,
    Delivery,
    ReceiverState,
    read_inbox,
    read_receiver,
    remove_all_deliveries,
    remove_deliveries,
)
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import ProviderError, StoreError
from prefect_imagine.providers.models import Generation, GenerationStatus
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

LATELY = timedelta(days=1)
"""A provider that has delivered so recently is expected to go on."""
STRANGE_SECONDS = 300.0
"""How long a delivery is kept whose job is not known: the answer to its create may be on its way."""


class Deliveries:
    """The inbox of one batch, while a run follows it. Without a receiver it costs a look for one at times.

    Args:
        every: seconds from one look into the inbox to the next.
    """

    def __init__(
        self,
        store: Store,
        blocking: Blocking,
        batch_id: str,
        runs: Mapping[str, ProviderRun],
        every: float,
    ) -> None:
        self._store = store
        self._blocking = blocking
        self._batch_id = batch_id
        self._runs = runs
        self._every = every
        self._waiting: dict[str, Delivery] = {}
        self._heard = False

    async def watch(self) -> None:
        """Look into the inbox again and again."""
        while True:
            try:
                await self._listen(boot_seconds() + BEAT_SECONDS)
            except StoreError as error:
                logger.warning("batch %s: deliveries cannot be read: %s", self._batch_id, error)
                await asyncio.sleep(BEAT_SECONDS)

    async def _listen(self, until: float) -> None:
        receiver = await self._blocking(read_receiver, self._store)
        if receiver is None:
            for run in self._runs.values():
                run.delivering = False
            await asyncio.sleep(BEAT_SECONDS)
            return
        if not self._heard:
            self._expect(receiver)
        self._heard = True
        while boot_seconds() < until:
            await self.look()
            await asyncio.sleep(self._every)

    def _expect(self, receiver: ReceiverState) -> None:
        since = utc_now() - LATELY
        for provider, run in self._runs.items():
            last = receiver.delivered.get(provider)
            run.delivering = last is not None and last >= since

    async def look(self) -> None:
        """Hand over what has come, and remove what has been taken in. Raises `StoreError`."""
        found = await self._blocking(read_inbox, self._store, self._batch_id, frozenset(self._waiting))
        for delivery in found.values():
            self._hand_over(delivery)
        self._waiting |= found
        over = [key for key, delivery in self._waiting.items() if self._is_over(delivery)]
        if over:
            await self._blocking(remove_deliveries, self._store, over)
        for key in over:
            del self._waiting[key]

    def _hand_over(self, delivery: Delivery) -> None:
        run = self._runs.get(delivery.provider)
        if run is None:
            return
        run.delivering = True
        row = believed(run.client, delivery)
        if row is not None:
            run.arrivals.bring({delivery.job: row})
        else:
            run.arrivals.hint([delivery.job])

    def _is_over(self, delivery: Delivery) -> bool:
        """Whether a delivery has been taken in, or says nothing that is not known."""
        run, job = self._runs.get(delivery.provider), delivery.job
        old = utc_now() - delivery.at > timedelta(seconds=STRANGE_SECONDS)
        if run is None or not run.arrivals.holds(job):
            return run is not None or old
        over = not run.follows(job) and (old or job in run.jobs.owned)
        if over:
            run.arrivals.drop(job)
        return over

    async def tidy(self, *, settled: bool) -> None:
        """Remove at the end what has been taken in; of a batch that has settled, all there is. Raises
        `StoreError`."""
        if not self._heard:
            return
        await self.look()
        if settled:
            await self._blocking(remove_all_deliveries, self._store, self._batch_id)


def believed(client: ProviderClient, delivery: Delivery) -> Generation | None:
    """The job as a signed delivery shows it; `None` where it shows no whole end of it."""
    if delivery.record is None:
        return None
    try:
        row = client.delivered(delivery.record)
    except ProviderError as error:
        logger.warning("%s: a delivery cannot be read: %s", client.provider, error)
        return None
    whole = row.outputs or row.status is not GenerationStatus.SUCCEEDED
    return row if row.id == delivery.job and row.status.terminal and whole else None
