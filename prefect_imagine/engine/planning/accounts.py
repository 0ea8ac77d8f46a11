"""The accounts that a batch needs, and their clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.planning.preflight import (
    Inspection,
    inspect,
)
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits.pacing import SharedLimit
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client
from prefect_imagine.providers.spec import Account
from prefect_imagine.providers.transport.connections import Timeouts

Accounts = Callable[[Sequence[str]], Awaitable[Mapping[str, Account]]]
"""Finds the accounts of some providers. Raises `ConfigurationError` with everything that is missing."""


def accounts_by(find: Callable[[str], Awaitable[Account]]) -> Accounts:
    """Finds accounts one by one; what is missing of all of them is one `ConfigurationError`."""

    async def find_all(providers: Sequence[str]) -> Mapping[str, Account]:
        found: dict[str, Account] = {}
        missing: list[str] = []
        for provider in providers:
            try:
                found[provider] = await find(provider)
            except ConfigurationError as error:
                missing.append(str(error))
        if missing:
            raise ConfigurationError("\n".join(missing))
        return found

    return find_all


Shared = Callable[[Account], SharedLimit | None]
"""Finds the limit that an account's key shares with other machines, if any."""


@asynccontextmanager
async def reached(
    providers: Sequence[str],
    accounts: Accounts,
    options: BatchOptions,
    shared: Shared = lambda account: None,
    *,
    models: bool,
) -> AsyncIterator[tuple[Mapping[str, Account], Mapping[str, ProviderClient], Inspection]]:
    """Accounts and clients of some providers, and what those tell, for as long as the context lasts. Raises
    `ConfigurationError`."""
    found = {name: _tuned(each, options) for name, each in (await accounts(providers)).items()}
    async with AsyncExitStack() as stack:
        clients: dict[str, ProviderClient] = {}
        for name, account in found.items():
            clients[name] = open_client(account, shared=shared(account))
            stack.push_async_callback(clients[name].aclose)
        yield found, clients, await inspect(clients, models=models) if clients else Inspection()


def _tuned(account: Account, options: BatchOptions) -> Account:
    rate = options.rates.get(account.provider)
    return replace(
        account,
        rate=Rate.parse(rate) if rate else account.rate,
        timeouts=Timeouts(create=options.timing.create),
    )


def prices_of(accounts: Mapping[str, Account], options: BatchOptions) -> dict[str, PriceList]:
    """The price lists that hold for each account."""
    return {
        name: options.prices.get(name, PriceList()).over(account.prices) for name, account in accounts.items()
    }
