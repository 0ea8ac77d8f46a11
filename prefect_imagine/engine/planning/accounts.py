"""The accounts that a batch needs, and their clients."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from prefect_imagine.batches.capability import URL_VARIABLE, webhook_address, webhook_secret
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.planning.preflight import (
    Inspection,
    inspect,
)
from prefect_imagine.engine.traffic import Traffic
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits.pacing import SharedLimit
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client
from prefect_imagine.providers.spec import Account
from prefect_imagine.providers.transport.connections import Timeouts
from prefect_imagine.providers.transport.http import check_base_url

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


@dataclass(frozen=True)
class Reached:
    """Some providers that can be asked.

    Attributes:
        accounts, clients: by provider.
        inspection: what they tell.
        traffic: counts what the clients send.
    """

    accounts: Mapping[str, Account]
    clients: Mapping[str, ProviderClient]
    inspection: Inspection
    traffic: Traffic


Connect = Callable[..., AbstractAsyncContextManager[Reached]]
"""Opens accounts, as `reached` does it."""


@asynccontextmanager
async def reached(
    providers: Sequence[str],
    accounts: Accounts,
    options: BatchOptions,
    shared: Shared = lambda account: None,
    *,
    models: bool,
) -> AsyncIterator[Reached]:
    """Accounts and clients of some providers, and what those tell, for as long as the context lasts. Raises
    `ConfigurationError`."""
    found = {name: _tuned(each, options) for name, each in (await accounts(providers)).items()}
    async with AsyncExitStack() as stack:
        clients: dict[str, ProviderClient] = {}
        for name, account in found.items():
            clients[name] = open_client(account, shared=shared(account))
            stack.push_async_callback(clients[name].aclose)
        inspection = await inspect(clients, models=models) if clients else Inspection()
        traffic = Traffic(clients, {name: account.identity for name, account in found.items()})
        for name, balance in inspection.balances.items():
            traffic.saw_balance(name, balance)
        yield Reached(found, clients, inspection, traffic)


def _tuned(account: Account, options: BatchOptions) -> Account:
    rate = options.rates.get(account.provider)
    return replace(
        account,
        rate=Rate.parse(rate) if rate else account.rate,
        timeouts=Timeouts(create=options.timing.create),
    )


def webhook_urls_of(accounts: Mapping[str, Account], batch_id: str, options: BatchOptions) -> dict[str, str]:
    """Where those providers that take an address with a create are asked to deliver the ends of a batch's
    jobs; none where no receiver is named. Raises `ConfigurationError`."""
    base = options.webhook_url or os.environ.get(URL_VARIABLE, "").strip()
    if not base:
        return {}
    address, secret = check_base_url("webhook_url", base), webhook_secret()
    return {
        name: webhook_address(
            address, name, account.identity, batch_id, secret, signed=account.spec.webhooks.signed
        )
        for name, account in accounts.items()
        if account.spec.webhooks is not None and account.spec.webhooks.per_create
    }


def prices_of(accounts: Mapping[str, Account], options: BatchOptions) -> dict[str, PriceList]:
    """The price lists that hold for each account."""
    return {
        name: options.prices.get(name, PriceList()).over(account.prices) for name, account in accounts.items()
    }
