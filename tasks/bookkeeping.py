"""Reading what was spent and what is left: repeated at will, since it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_imagine.batches.ledger import Ledger
from prefect_imagine.batches.root import standings_under
from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.registry import PROVIDERS, Account, open_client
from prefect_imagine.stores import Store
from prefect_imagine.tasks.accounts import accounts


@dataclass(frozen=True)
class AccountBalance:
    """What is left on an account, or why that is not known."""

    provider: str
    balance: Balance | None
    note: str = ""


_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": 10,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="read-ledger", **_OPTIONS)
async def read_ledger(store: Store, days: float, now: datetime) -> Ledger:
    """What the batches of the last days cost, by the calendar of a local time. Raises `StoreError`."""

    def collect() -> Ledger:
        assert now.tzinfo is not None
        ledger = Ledger((now - timedelta(days=days)).date(), now.tzinfo)
        for plan, state in standings_under(store, days):
            ledger.add(plan, state)
        return ledger

    return await asyncio.to_thread(collect)


@task(name="read-balances", **_OPTIONS)
async def read_balances(credentials: Mapping[str, str]) -> list[AccountBalance]:
    """The balances of the accounts with a block of credentials, or a key in the environment."""
    find = accounts(credentials)
    read = []
    for provider in PROVIDERS:
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
            return AccountBalance(account.provider, None, "the provider tells none")
        return AccountBalance(account.provider, await client.balance())
    except ProviderError as error:
        return AccountBalance(account.provider, None, str(error))
    finally:
        await client.aclose()
