"""Waiting for what another task, thread or process does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(ready: Callable[[], bool], *, every: float = 0.01) -> None:
    """Wait until something holds that tells nobody; the test's own timeout ends a wait in vain."""
    while not ready():  # noqa: ASYNC110 there is no event to wait for
        await asyncio.sleep(every)
