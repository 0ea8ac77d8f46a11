"""Running a store's blocking calls beside the event loop, patiently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from prefect_imagine.errors import StoreError
from prefect_imagine.providers.backoff import backoff
from prefect_imagine.providers.clock import Deadline

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """Threads for blocking calls. Two pools, so that a journal entry never waits behind large uploads.

    Args:
        patience: seconds for which a store may be gone before `StoreError` is raised.
    """

    def __init__(self, *, patience: float, transfers: int = 16) -> None:
        self._patience = patience
        self._records = ThreadPoolExecutor(4, thread_name_prefix="imagine-records")
        self._transfers = ThreadPoolExecutor(transfers, thread_name_prefix="imagine-transfers")

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a small call, again and again while the store is gone."""
        deadline = Deadline(self._patience)
        attempt = 0
        while True:
            try:
                return await self._run(self._records, lambda: call(*args, **kwargs))
            except StoreError as error:
                if not error.retryable or deadline.passed:
                    raise
                attempt += 1
                if attempt == 1:
                    logger.warning("waiting for the store: %s", error)
                await asyncio.sleep(backoff(min(attempt, 5)))

    async def once(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a small call, whatever comes of it, and behind no transfer."""
        return await self._run(self._records, lambda: call(*args, **kwargs))

    async def transfer(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that moves an output, once."""
        return await self._run(self._transfers, lambda: call(*args, **kwargs))

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        context = copy_context()  # by which a log line finds its run
        return await asyncio.get_running_loop().run_in_executor(pool, context.run, call)

    def close(self) -> None:
        """Let running calls end and stop the threads."""
        self._records.shutdown(wait=True, cancel_futures=True)
        self._transfers.shutdown(wait=True, cancel_futures=True)
