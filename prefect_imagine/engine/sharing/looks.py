"""Looks that the workers of a fleet make for each other: a list shows the jobs of all who share a key."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol
from uuid import uuid4

from prefect_imagine.batches.accounts.shown import Shown, put_look, read_look
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.models import Generation
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)


class Looks(Protocol):
    """What others have seen of one's own jobs, and what is to be told to them."""

    async def lately(self, jobs: Collection[str], since: float) -> Shown | None:
        """What somebody else has seen of these jobs in a look that began in the last so many seconds; `None`
        where nobody has looked."""

    async def tell(self, rows: Collection[Generation], took: float) -> None:
        """Tell what a look has shown of others' jobs that took so many seconds."""


class OwnLooks:
    """Of somebody who looks alone."""

    async def lately(self, jobs: Collection[str], since: float) -> Shown | None:
        """Nobody else looks."""
        return None

    async def tell(self, rows: Collection[Generation], took: float) -> None:
        """Nobody needs it."""


ALONE = OwnLooks()


class SharedLooks:
    """Of those who follow jobs of one account, by the root that they store in. It saves requests, and nothing
    depends on it."""

    def __init__(self, store: Store, blocking: Blocking, identity: str) -> None:
        self._store = store
        self._blocking = blocking
        self._identity = identity
        self._me = uuid4().hex

    async def lately(self, jobs: Collection[str], since: float) -> Shown | None:
        """What somebody else has seen of these jobs in a look that began in the last so many seconds."""
        asked = frozenset(jobs)  # they change while a thread reads what was seen
        try:
            return await self._blocking.once(read_look, self._store, self._identity, self._me, asked, since)
        except StoreError as error:
            logger.info("looks of others cannot be read: %s", error)
            return None

    async def tell(self, rows: Collection[Generation], took: float) -> None:
        """Tell what a look has shown of others' jobs that took so many seconds."""
        if not rows:
            return
        try:
            await self._blocking.once(put_look, self._store, self._identity, self._me, tuple(rows), took)
        except StoreError as error:
            logger.info("a look could not be told to others: %s", error)


def looks_of(store: Store, blocking: Blocking, identity: str | None) -> Looks:
    """Those of all who follow jobs of an account; of `None`, of nobody else."""
    return ALONE if identity is None else SharedLooks(store, blocking, identity)
