"""The limits that machines share through Prefect, as people look at them and set them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse

from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.spec import Account
from prefect_imagine.tasks.limits import SLOTS_A_REQUEST, Slots, put_limit, shared_limit
from prefect_imagine.tasks.server import prefect_server

_PREFIX = "imagine-"
_PAGE = 200


@dataclass(frozen=True)
class SharedLimitState:
    """One global concurrency limit on the Prefect server, in requests.

    Attributes:
        identity: provider and a hash of the key, as `Account.identity` has it.
        limit: requests that can be made at once.
        decay: requests more that can be made with each second.
        in_use: of those at once, how many are taken at this moment.
        active: whether it holds anybody back; a person may have switched it off.
    """

    identity: str
    limit: float
    decay: float
    in_use: int
    active: bool

    @property
    def provider(self) -> str:
        """Whose API it is for."""
        return self.identity.rpartition("-")[0]

    @property
    def key_hash(self) -> str:
        """Tells keys of one provider apart, and gives none away."""
        return self.identity.rpartition("-")[2]

    def admits(self, seconds: float) -> int:
        """The most requests that it lets through in a window of so many seconds."""
        return math.floor(self.limit + self.decay * seconds)


async def read_limits() -> list[SharedLimitState]:
    """All limits of this package, by name. Raises `ConfigurationError` where there is no Prefect server."""
    found: list[GlobalConcurrencyLimitResponse] = []
    async with prefect_server() as client:
        while page := await client.read_global_concurrency_limits(limit=_PAGE, offset=len(found)):
            found += page
    states = [
        SharedLimitState(
            identity=each.name.removeprefix(_PREFIX),
            limit=each.limit / SLOTS_A_REQUEST,
            decay=each.slot_decay_per_second / SLOTS_A_REQUEST,
            in_use=math.ceil(each.active_slots / SLOTS_A_REQUEST),
            active=each.active,
        )
        for each in found
        if each.name.startswith(_PREFIX)
    ]
    return sorted(states, key=lambda state: state.identity)


async def set_limit(account: Account, rate: Rate) -> None:
    """Make the limit of an account's key, or change it. Raises `ConfigurationError` where there is no
    Prefect server."""
    async with prefect_server() as client:
        await put_limit(client, shared_limit(account).name, Slots.keeping(rate))
