"""A key's rate limit shared by all machines, as one of Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from dataclasses import dataclass

from httpx import HTTPStatusError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from prefect_imagine.clock import boot_seconds
from prefect_imagine.providers.limits.pacing import Priority
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.spec import Account

logger = logging.getLogger(__name__)

# Taken in blocks: a few requests to Prefect for several to the provider.
BLOCK_SECONDS = 0.5
BLOCKS_A_WINDOW = 12
# Prefect forgets fractions of a slot with each change: finer slots make that nothing.
SLOTS_A_REQUEST = 100
HTTP_LOCKED = 423
_MEND = f"a request takes {SLOTS_A_REQUEST}: set it with `prefect-imagine limits --set`"
SOON = 0.02


@dataclass(frozen=True)
class Patience:
    """How long Prefect's server is waited for, in seconds.

    Attributes:
        answer: for one answer: a server that is too busy for it holds up nobody for longer.
        slots: for slots that become free.
        alone: how long a server that did not answer is left alone, to begin with; twice as long each time
            that it does not answer again, up to `slots`.
    """

    answer: float = 30.0
    slots: float = 600.0
    alone: float = 60.0


def shared_limit(account: Account) -> PrefectSharedLimit:
    """The limit that an account's key shares with other machines."""
    return PrefectSharedLimit(account.identity, account.rate)


@dataclass(frozen=True)
class Slots:
    """A global concurrency limit, and how it is used. A request takes a hundred of its slots.

    In a window of so many seconds it admits `limit + decay * seconds` slots.

    Attributes:
        limit: slots that there are.
        decay: slots that become free again in a second.
        block: requests that are taken at once.
    """

    limit: int
    decay: float
    block: int

    @classmethod
    def keeping(cls, rate: Rate) -> Slots:
        """The limit that admits a rate in each of its windows."""
        per_block = math.ceil(rate.limit / rate.seconds * BLOCK_SECONDS)
        block = max(1, min(per_block, rate.limit // BLOCKS_A_WINDOW))
        at_once = min(2 * block, max(1, rate.limit - 1))
        decay = max(1, rate.limit - at_once) * SLOTS_A_REQUEST / rate.seconds
        return cls(at_once * SLOTS_A_REQUEST, math.floor(decay * 1e6) / 1e6, block)

    @classmethod
    def known(cls, limit: int, decay: float) -> Slots:
        """A limit that somebody has made. Raises `LookupError` for one that no request fits into."""
        if limit < SLOTS_A_REQUEST or decay <= 0:
            raise LookupError(
                f"a limit of {limit} slots, {decay:g} more a second, lets nothing through; {_MEND}"
            )
        return cls(limit, decay, max(1, limit // SLOTS_A_REQUEST // 2))


class PrefectSharedLimit:
    """Takes slots of a global concurrency limit named for the provider and a hash of the key.

    With a rate the limit is made or changed to keep it; without one it is used where somebody has made it.
    Where Prefect does not answer, the machine's own pacing has to do, which is said once; Prefect is asked
    again after a minute, then at growing intervals.
    """

    def __init__(self, identity: str, rate: Rate | None, patience: Patience = Patience()) -> None:
        self._patience = patience
        self.name = f"imagine-{identity}"
        self._own = Slots.keeping(rate) if rate is not None else None
        self._slots = self._own
        self._left = 0
        self._stale_at = 0.0
        self._taking = asyncio.Lock()
        self._ready = False
        self._alone_until = 0.0
        self._alone_for = self._patience.alone
        self._told = False

    async def acquire(self, priority: Priority) -> None:
        """Wait for a slot."""
        async with self._taking:
            # A block's rest belongs to the time that it was taken in.
            if self._left > 0 and boot_seconds() <= self._stale_at:
                self._left -= 1
            elif boot_seconds() >= self._alone_until:
                await self._take()

    async def _take(self) -> None:
        """Take a block, and the first of its requests."""
        try:
            async with asyncio.timeout(self._patience.slots), get_client() as client:
                async with asyncio.timeout(self._patience.answer):
                    slots = await self._made(client)
                wait = await self._try(client, slots)
                while wait > 0:
                    await asyncio.sleep(wait * random.uniform(1.0, 1.2))
                    wait = await self._try(client, slots)
                self._left = slots.block - 1
                self._alone_for = self._patience.alone
                # What is not used while as much becomes free again would come on top of a later window.
                self._stale_at = boot_seconds() + slots.block * SLOTS_A_REQUEST / slots.decay
        except Exception as error:  # Prefect's errors here are many, and none may stop a paid batch
            self._left = 0
            self._slots = self._own
            self._alone_until = boot_seconds() + self._alone_for
            self._alone_for = min(self._patience.slots, 2 * self._alone_for)
            wanted = self._ready or not isinstance(error, ObjectNotFound)  # else nobody wants it shared
            if wanted and not self._told:
                self._told = True
                why = str(error) or type(error).__name__
                logger.warning("%s: the rate is not shared with other machines: %s", self.name, why)

    async def _made(self, client: PrefectClient) -> Slots:
        """The limit as it stands. Raises `ObjectNotFound` where there is none, and none to make."""
        if self._slots is None:
            found = await client.read_global_concurrency_limit_by_name(self.name)
            self._slots = Slots.known(found.limit, found.slot_decay_per_second)
        elif not self._ready:
            await put_limit(client, self.name, self._slots)
        self._ready = True
        return self._slots

    async def _try(self, client: PrefectClient, slots: Slots) -> float:
        """Take a block if there is one, else return in how many seconds there will be.

        Prefect is not asked for slots before it has them: a refusal restarts the decay of those in use.
        """
        async with asyncio.timeout(self._patience.answer):
            return await self._tried(client, slots.block * SLOTS_A_REQUEST)

    async def _tried(self, client: PrefectClient, wanted: int) -> float:
        known = await client.read_global_concurrency_limit_by_name(self.name)
        if wanted > known.limit or known.slot_decay_per_second <= 0:
            raise LookupError(f"the limit has been lowered to {known.limit} slots; {_MEND}")
        missing = known.active_slots + wanted - known.limit
        if known.active and missing > 0:
            return missing / known.slot_decay_per_second
        try:
            taken = await client.increment_concurrency_slots([self.name], wanted, mode="rate_limit")
        except HTTPStatusError as error:
            if error.response.status_code != HTTP_LOCKED:
                raise
            return SOON  # somebody was faster
        if not taken.json():
            raise LookupError(f"the global concurrency limit {self.name!r} is gone")
        return 0.0


async def put_limit(client: PrefectClient, name: str, slots: Slots) -> None:
    """Make a global concurrency limit, or change it."""
    put = client.upsert_global_concurrency_limit_by_name
    try:
        await put(name, limit=slots.limit, slot_decay_per_second=slots.decay)
    except ObjectAlreadyExists:  # another process was faster
        await put(name, limit=slots.limit, slot_decay_per_second=slots.decay)
