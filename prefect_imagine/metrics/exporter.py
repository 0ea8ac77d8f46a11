"""Serves samples of a root to whoever asks, however often: one look at a time, and none too soon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.clock import boot_seconds
from prefect_imagine.errors import StoreError
from prefect_imagine.metrics.families import Exposer, Exposition
from prefect_imagine.metrics.root import KnownRoot
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

FRESH_SECONDS = 10.0
"""A sample is served again for so long."""
LATE_SECONDS = 120.0
"""And for so long while the next look takes longer than whoever asks can wait."""
PATIENCE_SECONDS = 5.0
"""For which a store may fail before that is said."""
PAUSES = Pauses(after_failure=lambda attempt: 0.5)
"""Short ones, so that whoever scrapes is told in time that the store fails, instead of an older sample."""


class Exporter:
    """The metrics of one root. The first look reads the settled batches, and may take longer than any scrape.

    Args:
        fresh: seconds for which a sample is served again.
        late: seconds for which it is served while the next look takes longer than whoever asks waits.
        patience: seconds for which a store may fail before that is said.
        clock: seconds on a clock that nobody sets.
    """

    def __init__(
        self,
        store: Store,
        *,
        fresh: float = FRESH_SECONDS,
        late: float = LATE_SECONDS,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._store = store
        self._fresh = fresh
        self._late = late
        self._clock = clock
        self._root = KnownRoot(store)
        self._exposer = Exposer()
        self._blocking = Blocking(patience=patience, transfers=1, pauses=PAUSES)
        self._last: tuple[float, Exposition] | None = None
        self._look: asyncio.Task[Exposition] | None = None

    async def metrics(self, deadline: float) -> Exposition:
        """The metrics, read from the store unless that was done a moment ago.

        Args:
            deadline: seconds that may be waited for the store.

        Raises:
            StoreError: it fails, or does not answer in time and nothing is known from shortly before.
        """
        if (known := self._known(self._fresh)) is not None:
            return known
        if self._look is None:
            self._look = asyncio.create_task(self._read())
            self._look.add_done_callback(self._end)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(self._look)
        except TimeoutError as error:
            if (known := self._known(self._late)) is not None:
                return known
            message = f"{self._store.address} has not been read within {deadline:g} s; that goes on"
            raise StoreError(message, retryable=True) from error

    def _known(self, seconds: float) -> Exposition | None:
        """What was read not longer ago."""
        if self._last is None or self._clock() > self._last[0] + seconds:
            return None
        return self._last[1]

    async def _read(self) -> Exposition:
        begun = self._clock()
        exposition = await self._blocking(lambda: self._exposer.expose(self._root.look()))
        self._last = begun, exposition
        return exposition

    def _end(self, look: asyncio.Task[Exposition]) -> None:
        self._look = None
        if not look.cancelled() and (error := look.exception()) is not None:
            logger.warning("%s cannot be read: %s", self._store.address, error)

    async def aclose(self) -> None:
        """Give threads back. A look that is under way is left to itself."""
        if self._look is not None:
            self._look.cancel()
        self._root.close()
        await self._blocking.aclose()
