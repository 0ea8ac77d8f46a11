"""Reading what was spent and what is left: repeated at will, since it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from prefect import task
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE

from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.billing.root import books_since
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.registry import open_client, provider_names
from prefect_imagine.providers.spec import Account
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts, open_output


@dataclass(frozen=True)
class AccountBalance:
    """What is left on an account, or why that is not known."""

    provider: str
    balance: Balance | None
    note: str = ""


CLOCKS_DIFFER = timedelta(hours=1)
"""By how much the store's clock may be behind ours."""

_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": 10,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="read-ledger", **_OPTIONS)
async def read_ledger(output: str, bucket: str | Block | None, days: float, now: datetime) -> Ledger:
    """What the batches under a root cost in the last whole days, by the calendar of a local time. Raises
    `ConfigurationError` or `StoreError`."""
    assert now.tzinfo is not None
    ledger = Ledger((now - timedelta(days=days)).date(), now.tzinfo)
    first = datetime.combine(ledger.first, time(), now.tzinfo) - CLOCKS_DIFFER

    def collect(store: Store) -> None:
        for found in books_since(store, first):
            if isinstance(found, Settlement):
                ledger.add_settled(found)
            else:
                ledger.add(found.plan, found.state)

    with closing(await open_output(output, bucket)) as store:
        await asyncio.to_thread(collect, store)
    return ledger


@task(name="read-balances", **_OPTIONS)
async def read_balances(credentials: Mapping[str, str | BaseCredentials]) -> list[AccountBalance]:
    """The balances of the accounts with a block of credentials, or a key in the environment."""
    find = accounts(credentials)
    read = []
    for provider in provider_names():
        try:
            account = (await find([provider]))[provider]
        except ConfigurationError as error:
            if provider in credentials:
                read.append(AccountBalance(provider, None, str(error)))
            continue
        read.append(await _read(account))
    return read


async def _read(account: Account) -> AccountBalance:
    client = open_client(account)
    try:
        if not client.capabilities.balance:
            return AccountBalance(account.provider, None, "the provider reports none")
        return AccountBalance(account.provider, await client.balance())
    except ProviderError as error:
        return AccountBalance(account.provider, None, str(error))
    finally:
        await client.aclose()
