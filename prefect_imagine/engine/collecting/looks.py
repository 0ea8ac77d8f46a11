"""One look per account at the jobs of all batches, and clients that all of them share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.collecting.survey import UnderWay
from prefect_imagine.engine.deliveries import believed
from prefect_imagine.engine.planning.accounts import Accounts, Reached, Shared
from prefect_imagine.engine.planning.preflight import Inspection
from prefect_imagine.engine.traces import look_trace, tell_seen
from prefect_imagine.engine.traffic import Traffic
from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.models import Generation
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client
from prefect_imagine.providers.spec import Account

logger = logging.getLogger(__name__)

Rows = dict[str, dict[str, Generation]]
"""Records by provider and id."""


class Connected:
    """The accounts of some providers and their clients, opened once.

    Attributes:
        failed: why a provider cannot be asked, or could not.
        traffic: counts what is sent.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.clients: dict[str, ProviderClient] = {}
        self.failed: dict[str, str] = {}
        self.traffic = Traffic({}, {})

    @property
    def requests(self) -> Counter[str]:
        """How many requests were sent so far, by purpose."""
        return sum((client.requests for client in self.clients.values()), Counter[str]())

    async def accounts_of(self, providers: Sequence[str]) -> Mapping[str, Account]:
        """The accounts of those of these providers that there are."""
        return {name: self.accounts[name] for name in providers if name in self.accounts}

    @asynccontextmanager
    async def reached(
        self,
        providers: Sequence[str],
        accounts: Accounts,
        options: BatchOptions,
        shared: Shared = lambda account: None,
        *,
        models: bool,
    ) -> AsyncIterator[Reached]:
        """Those of them that can be asked, in place of opening them anew; nothing is read of them."""
        those = await accounts(providers)
        found = {name: account for name, account in those.items() if name not in self.failed}
        yield Reached(found, {name: self.clients[name] for name in found}, Inspection(), self.traffic)


@asynccontextmanager
async def connected(
    batches: Sequence[UnderWay], accounts: Accounts, shared: Shared
) -> AsyncIterator[Connected]:
    """The clients of all providers with which these batches have something under way."""
    all_of_them = Connected()
    async with AsyncExitStack() as stack:
        for name in sorted({name for batch in batches for name in batch.providers}):
            try:
                account = (await accounts([name]))[name]
                client = open_client(account, shared=shared(account))
            except ConfigurationError as error:
                all_of_them.failed[name] = str(error)
                continue
            stack.push_async_callback(client.aclose)
            all_of_them.accounts[name], all_of_them.clients[name] = account, client
        identities = {name: account.identity for name, account in all_of_them.accounts.items()}
        all_of_them.traffic = Traffic(all_of_them.clients, identities)
        yield all_of_them


async def look_at_all(batches: Sequence[UnderWay], those: Connected) -> Rows:
    """What has become of the jobs of all these batches: as signed deliveries say, and for the others by one
    look per account."""
    rows: Rows = {name: {} for name in those.clients}
    for batch in batches:
        for delivery in batch.deliveries.values():
            if delivery.provider in rows:
                row = believed(those.clients[delivery.provider], delivery)
                rows[delivery.provider] |= {row.id: row} if row is not None else {}
    for name, client in those.clients.items():
        running = {job for batch in batches for job in batch.jobs.get(name, ())}
        asked = sorted(running - rows[name].keys())
        if not asked:
            continue
        try:
            with look_trace(name, len(asked)) as span:
                shown = await client.poll(asked)
                tell_seen(span, shown.values())
            rows[name] |= shown
        except ProviderError as error:
            logger.warning("%s cannot be asked: %s", name, error)
            those.failed[name] = str(error)
    return rows
