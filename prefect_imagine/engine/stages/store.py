"""The store stage: from the provider's addresses into the store, whole or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import httpx

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.records import Failed, Stored
from prefect_imagine.batches.state import Phase
from prefect_imagine.clock import Deadline, boot_seconds, utc_now
from prefect_imagine.engine.mover import Mover
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.traces import tell_stored
from prefect_imagine.errors import OutputError, ProviderError, StoreError
from prefect_imagine.failpoints import reach
from prefect_imagine.providers.limits.pacing import Priority
from prefect_imagine.providers.models import Output
from prefect_imagine.stores import Downloader, MediaSource, Store
from prefect_imagine.stores.reach import origin
from prefect_imagine.stores.thumbnails import THUMBNAIL_TYPE, PictureCopy

logger = logging.getLogger(__name__)

ATTEMPTS = 6
FETCHES = 3
LONGEST_RETRY_AFTER = 300.0
# What a fresh address may cure. Some CDNs answer an expired one with a page.
RENEWED_BY_FETCH = ("expired", "missing", "not_media", "refused_url")
PATIENT_WITH_MISSING = 2
"""Downloads of an output that a CDN may only be about to have, before its address is asked for again."""


class StoreStage:
    """Stores a run's finished items."""

    def __init__(self, run: ProviderRun, store: Store, downloader: Downloader, blocking: Blocking) -> None:
        self._run = run
        self._store = store
        self._mover = Mover(store, downloader, run.client, max_bytes=run.options.max_output_bytes)
        self._blocking = blocking
        self._api_origin = origin(httpx.URL(run.client.base_url))
        self._media_count = False

    async def wave(self, items: Sequence[int]) -> None:
        """Store these items; returns when each is stored or has failed for now."""
        await asyncio.gather(*(self._store_item(self._run.shards.item(index)) for index in items))

    async def _store_item(self, item: BatchItem) -> None:
        run = self._run
        try:
            known = run.state(item.index)
            if known.phase is Phase.FINISHED:
                with run.trace.store(item, known) as span:
                    await self._store_outputs(item)
                    tell_stored(span, run.state(item.index))
        finally:
            if run.queues.inline.pop(item.index, None) is not None:
                run.wake_up.notify()

    async def _store_outputs(self, item: BatchItem) -> None:
        run = self._run
        try:
            known = run.queues.inline.get(item.index) or run.state(item.index).outputs
            outputs = known or await self._fetched(item)
            moves = (
                self._store_output(item, number, output, len(outputs))
                for number, output in enumerate(outputs)
            )
            moved = await asyncio.gather(*moves, return_exceptions=True)
            stored = tuple(_result(each) for each in moved)
        except (OutputError, ProviderError, StoreError) as error:
            if isinstance(error, StoreError) and error.retryable:
                raise
            await self._failed(item, error)
            return
        except Exception as error:
            # What nobody foresaw of one output must not keep all others from being stored.
            logger.exception("item %s", item.title)
            await self._failed(item, error)
            return
        reach("before_stored")
        await run.record(Stored(item=item.index, at=utc_now(), outputs=stored))

    async def _store_output(self, item: BatchItem, number: int, output: Output, count: int) -> Output:
        """Store one output of an item, again and again within bounds. While the store itself is gone,
        patience is what bounds it."""
        stem = f"{self._run.batch_id}/outputs/{item.index:05d}-{item.name or item.item_id}"
        stem = stem if count == 1 else f"{stem}-{number + 1}"
        patience = Deadline(self._run.timing.patience)
        attempt = throttled = 0
        same_address = False
        while True:
            attempt += 1
            wait = None
            try:
                return await self._moved(item, stem, output)
            except StoreError as error:
                if not error.retryable or patience.passed or self._run.stopped:
                    raise
                logger.info("item %s: waiting for the store: %s", item.title, error)
            except OutputError as error:
                throttled += error.rate_limited and not patience.passed
                if attempt - throttled >= ATTEMPTS or self._run.stopped:
                    raise
                logger.info("item %s: storing it again: %s", item.title, error)
                early = error.reason == "missing" and attempt <= PATIENT_WITH_MISSING
                if error.reason in RENEWED_BY_FETCH and not early and not same_address:
                    renewed = await self._renewed(item, number, output)
                    same_address, output = renewed.url == output.url, renewed
                wait = error.retry_after
            wait = wait or self._run.pauses.after_failure(min(attempt, 4))
            await asyncio.sleep(min(LONGEST_RETRY_AFTER, wait))

    async def _moved(self, item: BatchItem, stem: str, output: Output) -> Output:
        """Move an output. On servers that count them among the API's requests, downloads from the API's own
        origin take their turn with those."""
        pacer = self._run.client.pacer
        counts = self._media_count and self._is_own(output)
        permit = await pacer.acquire(Priority.READ) if counts else None
        begun = boot_seconds()
        try:
            moved = await self._blocking.transfer(self._move, item, stem, output)
        except OutputError as error:
            if error.rate_limited and self._is_own(output):
                self._media_count = True
                pacer.throttled(begun, error.retry_after)
            raise
        else:
            if permit is not None:
                pacer.answered(permit, 200, {})
                permit = None
            return moved
        finally:
            if permit is not None:
                pacer.release(permit)

    def _is_own(self, output: Output) -> bool:
        """Whether an output lies at the API's own origin."""
        if output.url is None or output.inline:
            return False
        return origin(httpx.URL(output.url)) == self._api_origin

    async def _renewed(self, item: BatchItem, number: int, output: Output) -> Output:
        """The output at a fresh address: by fetching the record, never by creating again."""
        try:
            outputs = await self._fetched(item)
        except (OutputError, ProviderError):
            return output
        return outputs[number] if number < len(outputs) else output

    async def _fetched(self, item: BatchItem) -> tuple[Output, ...]:
        run = self._run
        for attempt in range(1, FETCHES + 1):
            generation = await run.client.fetch(run.state(item.index).id or "")
            if generation.outputs:
                return generation.outputs
            await asyncio.sleep(run.pauses.after_failure(attempt))
        raise OutputError(f"generation {run.state(item.index).id} has no output", reason="empty")

    def _move(self, item: BatchItem, stem: str, output: Output) -> Output:
        metadata = {"item": item.item_id, "provider": item.request.provider}
        if output.url is None:
            return self._within_batch(self._mover.move(stem, output, metadata))
        with PictureCopy() as copy:

            def copied(source: MediaSource) -> MediaSource:
                reach("mid_upload")
                return copy.of(source)

            stored = self._within_batch(self._mover.move(stem, output, metadata, copied))
            return replace(stored, thumbnail=self._put_thumbnail(stored, copy))

    def _within_batch(self, stored: Output) -> Output:
        return replace(stored, key=(stored.key or "").removeprefix(f"{self._run.batch_id}/"))

    def _put_thumbnail(self, output: Output, copy: PictureCopy) -> str | None:
        """Put a stored picture's thumbnail, if there is one, and return its key. Without it the report
        shows the picture itself: nothing that fails here is worth another download."""
        small = copy.thumbnail()
        if small is None:
            return None
        key = f"thumbnails/{PurePosixPath(output.key or '').stem}.webp"
        try:
            self._store.put(f"{self._run.batch_id}/{key}", small, THUMBNAIL_TYPE)
        except StoreError as error:
            logger.info("%s: its thumbnail could not be stored: %s", output.key, error)
            return None
        return key

    async def _failed(self, item: BatchItem, error: Exception) -> None:
        logger.error("item %s could not be stored; a later run tries again: %s", item.title, error)
        await self._run.record(
            Failed(item=item.index, at=utc_now(), reason=f"output_{_why(error)}", message=str(error))
        )


def _why(error: Exception) -> str:
    if isinstance(error, OutputError):
        return error.reason
    if isinstance(error, StoreError):
        return "store"
    return "fetch" if isinstance(error, ProviderError) else "unexpected"


def _result(moved: Output | BaseException) -> Output:
    if isinstance(moved, BaseException):
        raise moved
    return moved
