"""What runs under one root know together of the keys that they use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from prefect_imagine.batches.accounts.learned import read_learned, write_learned
from prefect_imagine.batches.accounts.users import meet, part
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

FIRST_SECONDS = 1.0
"""Until the first sign of life: a run that is shorter needs none."""


class SharedKeys:
    """Begins with what earlier runs have learned of a run's keys, leaves what this one has, and divides each
    limit with the machines that create with the same key at the same time.

    Args:
        runs: by provider.
        identities: names of their accounts, as far as they are known.
    """

    def __init__(
        self, store: Store, blocking: Blocking, runs: Mapping[str, ProviderRun], identities: Mapping[str, str]
    ) -> None:
        self._store = store
        self._blocking = blocking
        self._accounts = [(run, identities[name]) for name, run in runs.items() if name in identities]
        self._signs: dict[str, float] = {}

    async def recall(self) -> None:
        """Begin with what earlier runs have learned. Raises `StoreError`."""
        for run, identity in self._accounts:
            learned = await self._blocking(read_learned, self._store, identity)
            if learned is not None:
                run.begin_with(learned)

    async def leave_learned(self) -> None:
        """Leave what is known by now. Raises `StoreError`."""
        for run, identity in self._accounts:
            if (learned := run.learned) is not None:
                await self._blocking(write_learned, self._store, identity, learned)

    async def keep_meeting(self) -> None:
        """Divide limits with others, for as long as the run lasts."""
        pause = self._blocking.pauses.between_signs
        wait = min(FIRST_SECONDS, pause)
        try:
            while True:
                await asyncio.sleep(wait)
                wait = min(pause, 2 * wait)  # those that begin together have to find each other soon
                for run, identity in self._accounts:
                    if run.creating and run.client.pacer.divides:
                        await self._meet(run, identity)
                    else:
                        await self._part(run, identity)
        finally:
            for run, identity in self._accounts:
                await self._part(run, identity)

    async def _meet(self, run: ProviderRun, identity: str) -> None:
        pacer, window = run.client.pacer, run.client.pacer.window
        try:
            users = await self._blocking.once(meet, self._store, identity, pacer.machine, window)
        except StoreError as error:
            logger.info("%s: it is not known who else uses the key: %s", run.provider, error)
            return
        self._signs[identity] = window
        pacer.share_with(users.machines - 1, users.window)

    async def _part(self, run: ProviderRun, identity: str) -> None:
        window = self._signs.pop(identity, None)
        if window is None:
            return
        pacer = run.client.pacer
        pacer.share_with(0, window)
        try:
            await self._blocking.once(part, self._store, identity, pacer.machine, window)
        except StoreError as error:
            logger.info("%s: others wait until they miss this machine: %s", run.provider, error)
