"""Handing a prepared batch to a fleet: what the runs of its shards have to know is written down."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.fleet.dispatch import Dispatch, read_dispatch, shards_to_come, write_dispatch
from prefect_imagine.batches.fleet.shares import Portion, total_of
from prefect_imagine.batches.index import put_mark
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.shards import FIRST
from prefect_imagine.batches.submission import Submission, put_submission, read_submission
from prefect_imagine.billing.budgets.waiting import remove_waiting
from prefect_imagine.billing.root import take_stock
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_shards import OpenShard
from prefect_imagine.engine.planning.outlook import KnownShard
from prefect_imagine.engine.planning.prepare import STORE_SECONDS, PreparedBatch
from prefect_imagine.engine.shards.opener import ShardOpener
from prefect_imagine.errors import BatchBusyError
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.stores import Store


@dataclass(frozen=True)
class Placement:
    """Where a fleet finds a batch and its keys, and who hands it over.

    Attributes:
        pool: the work pool whose workers run the shards.
        output: the root, as a worker is told of it.
        asked_by: names the run that hands the batch over, and no other. Begun again after a crash, it goes on
            with that.
        bucket: the name of an S3Bucket block, if the root lies in one.
        credentials: names of credentials blocks by provider.
        traceparent: the trace of that run, where it is traced.
        after: the last handing over that it has seen, of which nothing goes on any more.
    """

    pool: str
    output: str
    asked_by: str
    bucket: str | None = None
    credentials: dict[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    after: int = 0


async def hand_over(
    store: Store, prepared: PreparedBatch, options: BatchOptions, placement: Placement
) -> Dispatch:
    """Write down how the shards of a batch are to be run, whose plans have been written, and by whom. From
    then on the batch is the fleet's: whoever runs its last shard closes the books.

    Raises:
        BatchBusyError: another process runs one of its shards, or has just handed it over.
        StoreError: the store is gone.
    """
    blocking = Blocking(patience=options.timing.patience)
    try:
        known = await blocking(read_dispatch, store, prepared.batch_id)
        if known is not None and known.asked_by == placement.asked_by:
            to_come = await blocking(shards_to_come, store, known)
            if to_come and await blocking(read_submission, store, prepared.batch_id) is None:
                await blocking(put_submission, store, prepared.batch_id, submission_of(known))
            if to_come or prepared.plans is None:
                return known
        elif known is not None and known.generation > placement.after:
            raise BatchBusyError(f"batch {prepared.batch_id!r} has just been handed to another fleet")
        await _record_changes(store, blocking, prepared, options, placement.asked_by)
        limited = await blocking(_with_limits, store, prepared.batch_id, options)
        dispatch = _dispatch(prepared, limited, placement, 1 if known is None else known.generation + 1)
        await blocking(put_mark, store, prepared.batch_id, FIRST, 0)  # `collect` looks after it from now on
        if not await blocking(write_dispatch, store, dispatch):
            raise BatchBusyError(f"batch {prepared.batch_id!r} has just been handed to another fleet")
        await blocking(put_submission, store, prepared.batch_id, submission_of(dispatch))
        await blocking(remove_waiting, store, prepared.batch_id)
        return dispatch
    finally:
        await blocking.aclose()


def submission_of(dispatch: Dispatch) -> Submission:
    """What is left for whoever says how the batch has ended."""
    return Submission(
        at=dispatch.at,
        allowed_failures=dispatch.options.allowed_failures,
        timing=dispatch.options.timing,
        generation=dispatch.generation,
        traceparent=dispatch.traceparent,
    )


def _with_limits(store: Store, batch_id: str, options: BatchOptions) -> BatchOptions:
    """With the limits that commands have set, where a run is given none: they are divided like its own."""
    if options.max_credits is not None or options.max_credits_by_provider:
        return options
    total, by_provider = read_wanted(store, batch_id).max_credits(0)
    return options.model_copy(update={"max_credits": total, "max_credits_by_provider": by_provider})


def _dispatch(
    prepared: PreparedBatch, options: BatchOptions, placement: Placement, generation: int
) -> Dispatch:
    shards = {each.number: _portion(each) for each in prepared.shards if each.visit}
    others = (_committed(each) for each in prepared.shards if not each.visit)
    once = {"batch_id": prepared.batch_id, "retry_failed": False, "recreate_unknown": False}
    return Dispatch(
        batch_id=prepared.batch_id,
        generation=generation,
        at=utc_now(),
        asked_by=placement.asked_by,
        pool=placement.pool,
        output=placement.output,
        bucket=placement.bucket,
        credentials=placement.credentials,
        # A shard that another process has is worth waiting for: nobody else would go on with it.
        options=options.model_copy(update={**once, "frozen": False, "wait": True}),
        commands_seen=prepared.commands_seen or 0,
        shards=shards,
        carried=total_of(others),
        source=prepared.source,
        traceparent=placement.traceparent,
    )


def _portion(shard: KnownShard) -> Portion:
    return Portion(committed=_committed(shard), expected=dict(shard.expected))


def _committed(shard: KnownShard) -> dict[str, int | float]:
    return {name: add_credits([credits]) for name, credits in shard.bill.committed.items()}


async def _record_changes(
    store: Store, blocking: Blocking, prepared: PreparedBatch, options: BatchOptions, asked_by: str
) -> None:
    """Write down what is withdrawn, restored, or to be created again: the runs of shards know nothing of
    what is asked for."""
    changed = [shard for shard in prepared.shards if shard.changes]
    if not changed:
        return
    wanted = await blocking(read_wanted, store, prepared.batch_id)
    opener = ShardOpener.of(prepared, store, blocking, options, wanted, asked_by=asked_by)
    for shard in changed:
        found = await opener.open(shard.number, settled_too=True)
        assert isinstance(found, OpenShard), "a settled one is opened too"
        await found.release()
        await blocking(take_stock, store, prepared.batch_id, shard.number)


async def last_dispatch(store: Store, batch_id: str) -> tuple[Dispatch | None, bool]:
    """How a batch was last handed over, and whether there are shards of it whose runs have not ended. Raises
    `StoreError`."""
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        known = await blocking(read_dispatch, store, batch_id)
        return known, known is not None and bool(await blocking(shards_to_come, store, known))
    finally:
        await blocking.aclose()
