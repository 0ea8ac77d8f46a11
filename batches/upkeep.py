"""What is done to batches that exist: stopping one, and looking again at what is open; neither creates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from prefect_imagine.batches.engine import Stages, run
from prefect_imagine.batches.opening import Accounts, open_batch
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.results import standing
from prefect_imagine.batches.session import Session, open_session
from prefect_imagine.batches.summary import Summary
from prefect_imagine.batches.usage import Usage
from prefect_imagine.stores import Store

StagesOf = Callable[[Session], AbstractContextManager[Stages | None]]
"""Who executes a session's stages, for as long as the context lasts."""


async def cancel(
    store: Store, batch_id: str, accounts: Accounts, *, in_flight: bool = False
) -> tuple[Summary, Usage]:
    """Stop a batch, wherever it runs: its process is fenced off and ends. It can be resumed.

    Args:
        in_flight: also cancel its jobs under way, where the provider can.

    Raises:
        ConfigurationError: there is no such batch, or its accounts cannot be opened.
        StoreError: the store is gone.
    """
    options = BatchOptions(batch_id=batch_id)
    async with open_batch(store, batch_id, None, accounts, options) as opened:
        if opened.settled:
            return standing(opened.plan, opened.state, store.address)
        session_of = open_session(opened, store, options, force=True, create=False)
        async with session_of as session:
            if in_flight:
                for provider in session.lanes:
                    await session.cancel_in_flight(provider)
            return await session.close_books()


async def reconcile(
    store: Store,
    batch_id: str,
    accounts: Accounts,
    stages: StagesOf = lambda session: nullcontext(),
) -> tuple[Summary, Usage]:
    """Look again at a batch's open, unknown and unfinished items: adopt and store what is found.

    Raises:
        BatchBusyError: it is being run.
        ConfigurationError: there is no such batch, or its accounts cannot be opened.
        StoreError: the store is gone.
    """
    # Unknown items are opened like those to be created again, but nothing is created here.
    options = BatchOptions(batch_id=batch_id, recreate_unknown=True)
    async with open_batch(store, batch_id, None, accounts, options) as opened:
        if opened.settled:
            return standing(opened.plan, opened.state, store.address)
        async with open_session(opened, store, options, create=False) as session:
            with stages(session) as executed_by:
                await run(session, executed_by)
            return await session.close_books()
