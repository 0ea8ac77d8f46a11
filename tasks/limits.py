"""A key's rate limit shared by all machines, as one of Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
import logging
import math

from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import rate_limit
from prefect.exceptions import ObjectAlreadyExists

from prefect_imagine.providers.pacing import Urgency
from prefect_imagine.providers.rates import Rate
from prefect_imagine.providers.registry import Account

logger = logging.getLogger(__name__)

# Taken in blocks: one request to Prefect for several to the provider.
BLOCKS_A_WINDOW = 12
LONGEST_WAIT = 600.0


def shared_limit(account: Account) -> PrefectSharedLimit | None:
    """The shared limit of an account, where a rate is set to be shared."""
    return PrefectSharedLimit(account.identity, account.rate) if account.rate is not None else None


class PrefectSharedLimit:
    """Takes slots of a global concurrency limit named for the provider and a hash of the key.

    In a window of `seconds` such a limit admits `limit + decay * seconds`: both are chosen so that this is
    the rate. Where Prefect does not answer, the machine's own pacing has to do, which is said once.
    """

    def __init__(self, identity: str, rate: Rate) -> None:
        self.name = f"imagine-{identity}"
        self.block = max(1, rate.limit // BLOCKS_A_WINDOW)
        self.limit = min(2 * self.block, max(1, rate.limit - 1))
        self.decay = (rate.limit - self.limit) / rate.seconds
        self._left = 0
        self._taking = asyncio.Lock()
        self._made = False
        self._lost = False

    async def acquire(self, urgency: Urgency) -> None:
        """Wait for a slot."""
        async with self._taking:
            if self._left == 0 and not self._lost:
                await self._take()
            self._left = max(0, self._left - 1)

    async def _take(self) -> None:
        try:
            if not self._made:
                await self._make()
            await rate_limit(self.name, occupy=self.block, strict=True, timeout_seconds=LONGEST_WAIT)
            self._left = self.block
        except Exception as error:  # Prefect's errors here are many, and none may stop a paid batch
            self._lost = True
            logger.warning("rate limits are not shared with other machines: %s", str(error) or type(error))

    async def _make(self) -> None:
        decay = math.floor(self.decay * 1e6) / 1e6
        async with get_client() as client:
            make = client.upsert_global_concurrency_limit_by_name
            try:
                await make(self.name, limit=self.limit, slot_decay_per_second=decay)
            except ObjectAlreadyExists:  # another process was faster
                await make(self.name, limit=self.limit, slot_decay_per_second=decay)
        self._made = True
