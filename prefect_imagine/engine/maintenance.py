"""What is done to batches that exist: stopping one, looking again at what is open, and going on with one
whose budget holds enough again."""

from __future__ import annotations

from dataclasses import replace

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.commands import Command, write_command
from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.fleet.dispatch import in_fleet
from prefect_imagine.batches.index import read_index
from prefect_imagine.batches.lease import is_held, running_shard
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.billing.budgets.waiting import may_go_on, read_waiting, remove_waiting
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.take_in import StagesOf, Visit, plainly, take_in
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.accounts import Accounts
from prefect_imagine.engine.planning.again import Again
from prefect_imagine.engine.planning.outlook import Outlook, read_outlook
from prefect_imagine.engine.planning.prepare import PreparedBatch, prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import Store

MOST_LOOKS = 10
"""How often whoever runs a batch is fenced off, if it goes on to other shards meanwhile."""
STOP_SECONDS = 30.0
"""How long the store may fail while a batch is stopped."""


async def cancel(store: Store, batch_id: str, command: Command | None = None) -> tuple[Summary, Usage]:
    """Stop a batch, wherever it runs: its process is fenced off, ends, and says that it was cancelled. Needs
    no provider and no key. The batch can be resumed.

    Raises:
        ConfigurationError: there is no such batch.
        StoreError: the store is gone.
    """
    options = BatchOptions(batch_id=batch_id, timing=Timing(patience=STOP_SECONDS))
    blocking = Blocking(patience=STOP_SECONDS)
    try:
        outlook = await blocking(read_outlook, store, batch_id, Again(options), compare=False)
        if not outlook.exists:
            raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")
        position = outlook.positions.result
        if not (position.bill.counts.unfinished or outlook.followed):
            return position.summary(store.address)
        await blocking(write_command, store, batch_id, command or Command(kind="cancel"))
        await blocking(remove_waiting, store, batch_id)  # a person wants nothing more of it
        for _ in range(MOST_LOOKS):
            ended = await _fenced(store, outlook, options)
            # Whoever ran it may have gone on to another shard meanwhile.
            if await blocking(running_shard, store, batch_id) is None:
                break
            outlook = await blocking(read_outlook, store, batch_id, Again(options), compare=False)
        return ended
    finally:
        await blocking.aclose()


async def _fenced(store: Store, outlook: Outlook, options: BatchOptions) -> tuple[Summary, Usage]:
    """Fence off whoever runs the shards that are open, and close the books of the batch as it stands."""
    # Of the others nothing is under way, nor does anybody create anything of them before these.
    begun = (each for each in outlook.shards if each.settled is None and each.begun)
    fenced = tuple(begun) or tuple(outlook.shards[:1])
    others = (replace(each, visit=False) for each in outlook.shards if each not in fenced)
    prepared = PreparedBatch(outlook.batch_id, (*fenced, *others), outlook.positions.result)
    async with open_session(prepared, store, options, force=True, create=False) as session:
        await session.feed.feed(session.runs)
        return await session.close_books()


async def cancel_jobs(store: Store, batch_id: str, accounts: Accounts) -> tuple[Summary, Usage]:
    """Cancel the jobs under way of a batch that has been stopped, one by one, where the provider can.

    Raises:
        ConfigurationError: its accounts cannot be opened.
        StoreError: the store is gone.
    """
    options = BatchOptions(batch_id=batch_id)
    async with prepare_batch(store, batch_id, None, accounts, options, creates=False) as prepared:
        if prepared.settled:
            return prepared.position.summary(store.address)
        session_of = open_session(prepared, store, options, force=True, create=False)
        async with session_of as session:
            while len(session.shards):
                for provider in session.runs:
                    await session.cancel_in_flight(provider)
                for shard in session.shards:
                    await session.feed.leave(shard, session.runs.values())
                await session.feed.open_next(session.runs)
            return await session.close_books()


def batches_to_cancel(store: Store, batch_id: str | None, *, every: bool) -> list[str]:
    """The batch that is named; or every one under the root that some process has not let go of, be it seen to
    live or not, or that a fleet has.

    Raises:
        ConfigurationError: neither is asked for, or both.
        StoreError: the store is gone.
    """
    if (batch_id is None) is not every:
        raise ConfigurationError("name the batch to cancel, or ask for all of them, and not for both")
    if batch_id is not None:
        return [check_batch_id(batch_id)]
    return [each for each in read_index(store).unsettled if _is_held(store, each)]


def _is_held(store: Store, batch_id: str) -> bool:
    held = any(is_held(store, shard_path(batch_id, shard)) for shard in shard_numbers(store, batch_id))
    return held or in_fleet(store, batch_id) is not None


async def reconcile(
    store: Store, batch_id: str, accounts: Accounts, stages: StagesOf = plainly
) -> tuple[Summary, Usage]:
    """Look again at a batch's open, unknown and unfinished items: adopt and store what is found, and wait for
    what runs.

    Raises:
        BatchBusyError: it is being run.
        ConfigurationError: there is no such batch, or its accounts cannot be opened.
        StoreError: the store is gone.
    """
    found = await take_in(store, Visit(batch_id, unknown=True, lingers=True), accounts, stages)
    return found.summary, found.usage


async def go_on(store: Store, batch_id: str, accounts: Accounts) -> tuple[Summary, Usage] | None:
    """Run a batch on that a budget has stopped, with the options that it was run with; `None` where it waits
    for none, the budget does not hold enough yet, or somebody has paused it.

    Raises:
        BatchBusyError: it is being run.
        ConfigurationError: its accounts cannot be opened.
        StoreError: the store is gone.
    """
    blocking = Blocking(patience=STOP_SECONDS)
    try:
        waiting = await blocking(read_waiting, store, batch_id)
        if (await blocking(read_wanted, store, batch_id)).paused:
            return None
        if waiting is None or not await blocking(may_go_on, store, waiting, utc_now()):
            return None
    finally:
        await blocking.aclose()
    options = waiting.options
    async with prepare_batch(store, batch_id, None, accounts, options) as prepared:
        if prepared.settled:
            return prepared.position.summary(store.address)
        async with open_session(prepared, store, options) as session:
            await run_session(session)
            return await session.close_books()
