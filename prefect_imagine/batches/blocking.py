"""Running a store's blocking calls beside the event loop, patiently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from prefect_imagine.backoff import PAUSES, Pauses
from prefect_imagine.clock import Deadline
from prefect_imagine.errors import StoreError
from prefect_imagine.threads import DaemonPool

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Threads for blocking calls. Two pools, so that a journal entry never waits behind large uploads.

    Args:
        patience: seconds for which a store may be gone before `StoreError` is raised.
        transfers: outputs that are moved at once.
        pauses: how long it waits before a call is made again, and in the end for those that are being made.
    """

    def __init__(self, *, patience: float, transfers: int = 16, pauses: Pauses = PAUSES) -> None:
        self.pauses = pauses
        self._patience = patience
        self._records = DaemonPool(4, "imagine-records")
        self._transfers = DaemonPool(transfers, "imagine-transfers")
        self._running: set[Future[Any]] = set()

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
                await asyncio.sleep(self.pauses.after_failure(min(attempt, 5)))

    async def once(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a small call, whatever comes of it, and behind no transfer."""
        return await self._run(self._records, lambda: call(*args, **kwargs))

    async def transfer(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that moves an output, once."""
        return await self._run(self._transfers, lambda: call(*args, **kwargs))

    async def aclose(self) -> None:
        """Let running calls end for a moment, beside the event loop, and leave the others to themselves:
        they hold neither the loop nor the process."""
        self.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.pauses.at_the_end):
                running = map(asyncio.wrap_future, list(self._running))
                await asyncio.gather(*running, return_exceptions=True)
        if self._running:
            logger.warning("left %d calls of the store behind that did not end", len(self._running))

    def close(self) -> None:
        """Begin no more calls. Those that run end by themselves, or with the process."""
        for pool in (self._records, self._transfers):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, pool: DaemonPool, call: Callable[[], T]) -> T:
        context = copy_context()  # by which a log line finds its run
        future = pool.submit(context.run, call)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(future)
