"""Reading what was spent and what is left: repeated at will, since it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from prefect import task
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE

from prefect_imagine.billing import spending
from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.providers import balances
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.tasks.accounts import accounts, open_output

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
    with closing(await open_output(output, bucket)) as store:
        return await asyncio.to_thread(spending.read_ledger, store, days, now)


@task(name="read-balances", **_OPTIONS)
async def read_balances(credentials: Mapping[str, str | BaseCredentials]) -> list[AccountBalance]:
    """The balances of the accounts with a block of credentials, or a key in the environment."""
    return await balances.read_balances(accounts(credentials), credentials)
