"""Running a batch as a person has approved it, and keeping that answer for a run that is begun again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from prefect_imagine.batches.approvals import Approval, Changes, is_kept, keep_approval, read_approval
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.stops import StopReason
from prefect_imagine.billing.estimates import estimate_text
from prefect_imagine.engine.planning.approved import approval_of, changed, is_approved, is_part_of
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import STORE_SECONDS, PreparedBatch
from prefect_imagine.errors import (
    AmendedMeanwhileError,
    BatchIncompleteError,
    ConfigurationError,
    NotApprovedError,
    StoreError,
)
from prefect_imagine.failpoints import reach
from prefect_imagine.flows.run_batch import run_batch
from prefect_imagine.providers.credits import Credits
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store
from prefect_imagine.tasks.approval import ask, changes_text, needs_approval
from prefect_imagine.tasks.artifacts import publish_approved

logger = logging.getLogger(__name__)

Prepare = Callable[[BatchOptions, Collection[str]], AbstractAsyncContextManager[PreparedBatch]]
"""Prepares the batch with some options, without some providers."""
Run = Callable[[Store, PreparedBatch, BatchOptions], Awaitable[State[Any]]]
"""Runs a batch whose plans are written, or has it run."""
_AT_AN_END = {StopReason.BUDGET, StopReason.CANCELLED}
"""Whoever runs the batch after these wants something else than was approved."""


@dataclass(frozen=True)
class ApprovedRun:
    """A run that asks before it creates more than was approved.

    Attributes:
        options: as the run was told.
        threshold: credits above which it asks.
        minutes: how long it waits for an answer.
        execute: runs what is approved.
    """

    store: Store
    batch_id: str
    options: BatchOptions
    threshold: Credits
    minutes: float
    execute: Run = run_batch

    async def run(self, prepare: Prepare) -> State[Any]:
        """Ask if need be, and run the batch as far as it goes.

        Raises:
            NotApprovedError: a person said no, or what cannot be done; or nobody answered in time.
            AmendedMeanwhileError: the batch has changed while it waited for an answer.
            ImagineError: as `run_batch` raises it.
        """
        kept = await self._read()
        if kept is not None:
            async with AsyncExitStack() as stack:
                prepared = await self._prepared_as_kept(prepare, kept, stack)
                if prepared is not None:
                    return await self._go_on(prepared, kept)
        async with prepare(self.options, ()) as prepared:
            if not needs_approval(prepared.expected, self.threshold):
                return await self.execute(self.store, await persist_plan(self.store, prepared), self.options)
            shown = approval_of(prepared, self.options, _run_id())
            yes = await ask(prepared, self.options, self.minutes, self._is_kept)
            seen = prepared.commands_seen
            if not yes.changes:
                return await self._begin(prepared, shown.model_copy(update={"answer": yes.key}))
        async with AsyncExitStack() as stack:
            prepared = await self._prepared_with(prepare, yes.changes, stack)
            if not is_part_of(prepared, shown, _run_id()):
                raise AmendedMeanwhileError(
                    f"batch {self.batch_id!r} has changed while it waited for an answer: run this again"
                )
            prepared = replace(prepared, commands_seen=seen)  # a cancellation may have come meanwhile
            given = approval_of(prepared, self.options, _run_id(), yes.changes)
            return await self._begin(prepared, given.model_copy(update={"answer": yes.key}))

    async def _prepared_as_kept(
        self, prepare: Prepare, kept: Approval, stack: AsyncExitStack
    ) -> PreparedBatch | None:
        """The batch with the changes of an approval, where that covers all that this run may create."""
        try:
            prepared = await self._prepared_with(prepare, kept.changes, stack)
        except NotApprovedError as error:
            logger.info("what was approved at %s is asked for again: %s", kept.at, error)
            return None
        return prepared if is_approved(prepared, self.options, _run_id(), kept) else None

    async def _prepared_with(
        self, prepare: Prepare, changes: Changes, stack: AsyncExitStack
    ) -> PreparedBatch:
        try:
            options = changed(self.options, changes)
            return await stack.enter_async_context(prepare(options, changes.without))
        except ConfigurationError as error:
            raise NotApprovedError(f"it cannot be run as it was approved: {error}") from error

    async def _begin(self, prepared: PreparedBatch, approval: Approval) -> State[Any]:
        """Run what has just been approved."""
        await self._keep(approval)
        reach("after_approval")
        what = f"{estimate_text(prepared.expected)}{changes_text(approval.changes)}"
        logger.info("batch %s is run as approved: %s", self.batch_id, what)
        await publish_approved(self.batch_id, prepared.expected, changes_text(approval.changes))
        return await self._run(prepared, approval)

    async def _go_on(self, prepared: PreparedBatch, kept: Approval) -> State[Any]:
        """Run what is left of what was approved before."""
        what = f"{estimate_text(prepared.expected)}{changes_text(kept.changes)}"
        logger.info("batch %s goes on with what was approved at %s: %s", self.batch_id, kept.at, what)
        if prepared.plans is None:
            return await self._run(prepared, kept)
        anew = approval_of(prepared, self.options, _run_id(), kept.changes)
        anew = anew.model_copy(update={"at": kept.at, "answer": kept.answer})
        await self._keep(anew)
        return await self._run(prepared, anew)

    async def _run(self, prepared: PreparedBatch, approval: Approval) -> State[Any]:
        options = changed(self.options, approval.changes)
        ready = await persist_plan(self.store, prepared)
        if prepared.plans is not None:
            approval = approval.model_copy(update={"step": "planned"})
            await self._keep(approval)
        state = await self.execute(self.store, ready, options)
        if _has_ended(state):
            await self._end(approval)
        return state

    async def _end(self, approval: Approval) -> None:
        try:
            await self._keep(approval.model_copy(update={"step": "ended"}))
        except StoreError as error:
            logger.warning("batch %s: what was approved still holds: %s", self.batch_id, error)

    async def _read(self) -> Approval | None:
        blocking = Blocking(patience=STORE_SECONDS)
        try:
            return await blocking(read_approval, self.store, self.batch_id)
        except StoreError as error:
            raise ConfigurationError(f"nothing was created: {error}") from error
        finally:
            await blocking.aclose()

    async def _is_kept(self, answer: str) -> bool:
        return await asyncio.to_thread(is_kept, self.store, self.batch_id, answer)

    async def _keep(self, approval: Approval) -> None:
        blocking = Blocking(patience=self.options.timing.patience)
        try:
            await blocking(keep_approval, self.store, self.batch_id, approval)
        finally:
            await blocking.aclose()


def _run_id() -> str:
    return str(flow_run.id or "")


def _has_ended(state: State[Any]) -> bool:
    """Whether a run has made of an approval what can be made of it: nothing has stopped it on its way."""
    data = state.data
    summary = data.summary if isinstance(data, BatchIncompleteError) else data
    return isinstance(summary, Summary) and set(summary.stopped_by) <= _AT_AN_END
