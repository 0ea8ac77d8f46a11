"""The store stage: from the provider's addresses into the store, whole or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from prefect_imagine.batches.failpoints import reach
from prefect_imagine.batches.lane import Lane
from prefect_imagine.batches.offload import Offload
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.records import Failed, Stored
from prefect_imagine.batches.state import Phase
from prefect_imagine.errors import OutputError, ProviderError, StoreError
from prefect_imagine.providers.clock import Deadline, utc_now
from prefect_imagine.providers.http import backoff
from prefect_imagine.providers.models import Output
from prefect_imagine.stores import Downloader, DownloadPolicy, MediaSource, Store, StoredOutput

logger = logging.getLogger(__name__)

ATTEMPTS = 5


class Storer:
    """Stores a lane's finished items."""

    def __init__(self, lane: Lane, store: Store, downloader: Downloader, offload: Offload) -> None:
        self._lane = lane
        self._store = store
        self._downloader = downloader
        self._offload = offload
        headers = lane.client.media_headers()
        self._policy = DownloadPolicy(
            api_origin=lane.client.base_url,
            max_bytes=lane.options.max_output_bytes,
            auth_headers=headers,
            auth_first=bool(headers),
        )

    async def wave(self, items: Sequence[int]) -> None:
        """Store these items; returns when each is stored or has failed for now."""
        await asyncio.gather(*(self._store_item(self._lane.plan.item(index)) for index in items))

    async def _store_item(self, item: BatchItem) -> None:
        lane = self._lane
        if lane.state(item.index).phase is not Phase.FINISHED:
            return
        outputs = lane.state(item.index).outputs
        patience = Deadline(lane.timing.patience)
        attempt = 0
        while True:
            attempt += 1
            try:
                stored = await self._store_outputs(item, outputs or await self._fetched(item))
                break
            except (OutputError, ProviderError, StoreError) as error:
                store_gone = isinstance(error, StoreError) and error.retryable
                if store_gone and patience.passed:
                    raise
                if not store_gone and (attempt >= ATTEMPTS or isinstance(error, StoreError)):
                    await self._failed(item, error)
                    return
                logger.info("item %s: storing it again: %s", item.title, error)
                # An expired address is renewed by fetching the record, never by creating again.
                outputs = () if isinstance(error, OutputError) else outputs
            await asyncio.sleep(backoff(min(attempt, 5)))
        reach("before_stored")
        await lane.record(Stored(item=item.index, at=utc_now(), outputs=stored))

    async def _fetched(self, item: BatchItem) -> tuple[Output, ...]:
        lane = self._lane
        generation = await lane.client.fetch(lane.state(item.index).id or "")
        if not generation.outputs:
            raise OutputError(f"generation {generation.id} has no output", reason="empty")
        return generation.outputs

    async def _store_outputs(self, item: BatchItem, outputs: Sequence[Output]) -> tuple[Output, ...]:
        stem = f"{self._lane.plan.batch_id}/outputs/{item.index:05d}-{item.name or item.item_id}"
        stems = [stem] if len(outputs) == 1 else [f"{stem}-{number}" for number in range(1, len(outputs) + 1)]
        moved = await asyncio.gather(
            *(
                self._offload.transfer(self._move, item, where, output)
                for where, output in zip(stems, outputs, strict=True)
            ),
            return_exceptions=True,
        )
        for result in moved:
            if isinstance(result, BaseException):
                raise result
        return tuple(result for result in moved if isinstance(result, Output))

    def _move(self, item: BatchItem, stem: str, output: Output) -> Output:
        metadata = {"item": item.item_id, "provider": item.request.provider}
        if output.url is None:
            stored = self._store.put_output(stem, MediaSource.from_text(output.text or ""), metadata)
        else:
            with self._downloader.open(output.url, self._policy) as source:
                reach("mid_upload")
                stored = self._store.put_output(stem, source, metadata)
        return self._described(stored)

    def _described(self, stored: StoredOutput) -> Output:
        return Output(
            media_type=stored.media_type,
            key=stored.key.removeprefix(f"{self._lane.plan.batch_id}/"),
            bytes=stored.bytes,
            sha256=stored.sha256,
        )

    async def _failed(self, item: BatchItem, error: Exception) -> None:
        reason = (
            error.reason
            if isinstance(error, OutputError)
            else "store"
            if isinstance(error, StoreError)
            else "fetch"
        )
        logger.error("item %s could not be stored; a later run tries again: %s", item.title, error)
        await self._lane.record(
            Failed(item=item.index, at=utc_now(), reason=f"output_{reason}", message=str(error))
        )
