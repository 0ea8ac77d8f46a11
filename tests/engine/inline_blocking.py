"""Blocking calls without threads, for tests whose steps have to come in the same order each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.threads import DaemonPool

T = TypeVar("T")


class InlineBlocking(Blocking):
    """Makes each call on the event loop, some turns of it later: no thread decides who comes first.

    Args:
        turns: of the loop that a call takes to reach the store.

    Attributes:
        unmade: the calls of processes that died meanwhile. The store may still get to see them.
    """

    def __init__(self, *, patience: float, turns: int = 1) -> None:
        super().__init__(patience=patience, pauses=Pauses(to_gather=0.0))
        self._turns = turns
        self.unmade: list[Callable[[], Any]] = []

    async def _run(self, pool: DaemonPool, call: Callable[[], T]) -> T:
        try:
            for _ in range(self._turns):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.unmade.append(call)
            raise
        return call()
