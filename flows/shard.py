"""One shard of a batch that a fleet runs."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.states import Cancelled, Completed, Failed

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.commands import Command, cancelled_since
from prefect_imagine.batches.fleet.dispatch import Dispatch, ShardEnd, put_end, read_dispatch
from prefect_imagine.batches.stops import Stop, StopReason
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.fleet.closing import ClosedFleet, closing_fleet
from prefect_imagine.engine.planning.accounts import Accounts
from prefect_imagine.engine.planning.prepare import Part, prepare_batch
from prefect_imagine.errors import (
    BatchBusyError,
    ConfigurationError,
    FencedError,
    ImagineError,
    StoreError,
)
from prefect_imagine.flows.assets import publish_asset
from prefect_imagine.flows.parameters import Bucket, Credentials
from prefect_imagine.flows.run_batch import flow_state, report_link, run_to_its_end
from prefect_imagine.flows.traces import in_trace_of_run
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts, open_output
from prefect_imagine.tasks.artifacts import publish
from prefect_imagine.tasks.control import step_aside
from prefect_imagine.tasks.events import announce_end
from prefect_imagine.tasks.limits import shared_limit
from prefect_imagine.tasks.run_log import logs_in_run

logger = logging.getLogger(__name__)

STORE_SECONDS = 120.0
"""How long the store may fail before a run ends without a word in it."""


@flow(
    name="generate-shard",
    flow_run_name="generate {batch_id} shard {shard}",
    persist_result=False,
    retries=0,
)
async def generate_shard(
    batch_id: str,
    shard: int,
    generation: int,
    output: str = "./outputs",
    bucket: Bucket = None,
    credentials: Credentials = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
) -> Any:
    """Run one shard of a batch that generate-batch has handed to a fleet, and close the batch's books if it
    is the last. Nobody needs to start it by hand: how it is run stands with the batch.

    Args:
        batch_id: The batch.
        shard: Which of its shards, from 1.
        generation: The handing over that this run belongs to; where the batch has been handed over again,
            it does nothing.
        output: Folder or s3://bucket/prefix that batches are stored under.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
    """
    with logs_in_run() as log, in_trace_of_run():
        log.batch_id = batch_id
        try:
            with closing(await open_output(output, bucket)) as store:
                dispatch = await asyncio.to_thread(read_dispatch, store, batch_id)
                if dispatch is None or shard not in dispatch.shards:
                    raise ConfigurationError(
                        f"batch {batch_id!r} under {store.address} was not handed over with a shard {shard}"
                    )
                if dispatch.generation != generation:
                    message = f"the batch was handed over again at {dispatch.at:%Y-%m-%d %H:%M:%S} UTC"
                    return Cancelled(message=message)
                return await _ShardRun(store, dispatch, shard).run(accounts(credentials))
        except ImagineError as error:
            return Failed(message=str(error), data=error)


@dataclass(frozen=True)
class _ShardRun:
    store: Store
    dispatch: Dispatch
    shard: int

    async def run(self, find: Accounts) -> State[Any]:
        """Run the shard as far as it goes, say that it has ended, and close the books if it was the last.

        Raises:
            BatchBusyError: another process runs the shard, and has for a day.
            FencedError: another process has taken it over.
            StoreError: the store is gone.
        """
        try:
            state, end = await self._ran(find)
        except FencedError as error:
            cancelled = await self._cancelled()
            if cancelled is None:
                await step_aside()
                raise  # it goes on elsewhere
            stop = Stop(StopReason.CANCELLED, f"cancelled {cancelled.given}")
            state, end = Cancelled(message=stop.message, data=error), ShardEnd(at=utc_now(), stops=(stop,))
        except (BatchBusyError, StoreError):
            raise  # the same, or nothing can be said of it
        except ImagineError as error:
            stop = Stop(StopReason.FAILING, f"shard {self.shard}: {error}")
            state, end = Failed(message=str(error), data=error), ShardEnd(at=utc_now(), stops=(stop,))
        await self._note(end)
        async with closing_fleet(self.store, self.dispatch) as closed:
            if closed is not None:
                return await self._publish(closed)
        return state

    async def _ran(self, find: Accounts) -> tuple[State[Any], ShardEnd]:
        dispatch, options = self.dispatch, self.dispatch.options
        part = Part(self.shard, partial(dispatch.share, self.shard), dispatch.commands_seen)
        prepared_of = prepare_batch(
            self.store, dispatch.batch_id, None, find, options, shared_limit, part=part
        )
        async with prepared_of as prepared:
            if prepared.settled:
                return Completed(message="it has settled"), ShardEnd(at=utc_now())
            ended = await run_to_its_end(self.store, prepared, options)
        if ended.control.suspended is not None:
            raise Pause(state=ended.control.suspended)  # the run keeps the state that a person gave it
        # That some of its items failed is for the whole batch to judge.
        wanted = ended.summary.items.wanted
        state = flow_state(ended.summary, allowed_failures=wanted, cancelled=ended.control.cancelled)
        sent = ended.summary.requests.model_dump()
        return state, ShardEnd(at=utc_now(), stops=tuple(ended.stops), requests=sent)

    async def _cancelled(self) -> Command | None:
        """By what the batch has been cancelled since it was handed over, if it has."""
        dispatch = self.dispatch
        return await asyncio.to_thread(cancelled_since, self.store, dispatch.batch_id, dispatch.commands_seen)

    async def _note(self, end: ShardEnd) -> None:
        blocking = Blocking(patience=STORE_SECONDS)
        try:
            await blocking(put_end, self.store, self.dispatch, self.shard, end)
        finally:
            await blocking.aclose()

    async def _publish(self, closed: ClosedFleet) -> State[Any]:
        """Say how the whole batch has ended."""
        summary = closed.summary
        state = flow_state(summary, self.dispatch.options.allowed_failures)
        logger.info("the last shard has ended: batch %s: %s", summary.batch_id, state.message)
        await publish_asset(self.store, summary, state, self.dispatch.source)
        announce_end(summary)
        await publish(summary, closed.usage, closed.position.failures, report_link(self.store, closed.usage))
        return state
