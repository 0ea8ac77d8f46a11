"""Reading what was spent and what is left: repeated at will, since it changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from prefect import task
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE

from prefect_imagine.batches.accounts.record import note_balance
from prefect_imagine.billing import spending
from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.providers import balances
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.tasks.accounts import accounts, open_output

logger = logging.getLogger(__name__)

_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": 10,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="read-ledger", **_OPTIONS)
async def read_ledger(
    output: str,
    bucket: str | Block | None,
    days: float,
    now: datetime,
    prices: Mapping[str, PriceList] | None = None,
) -> Ledger:
    """What the batches under a root cost in the last whole days, by the calendar of a local time. Raises
    `ConfigurationError` or `StoreError`.

    Args:
        prices: by provider, what a credit costs of items that were planned when nobody said it.
    """
    with closing(await open_output(output, bucket)) as store:
        return await asyncio.to_thread(spending.read_ledger, store, days, now, prices=prices)


@task(name="read-balances", **_OPTIONS)
async def read_balances(credentials: Mapping[str, str | BaseCredentials]) -> list[AccountBalance]:
    """The balances of the accounts with a block of credentials, or a key in the environment."""
    return await balances.read_balances(accounts(credentials), credentials)


async def note_balances(output: str, bucket: str | Block | None, read: Sequence[AccountBalance]) -> None:
    """Note under a root what is left on the accounts that were used there. Raises `ConfigurationError`; of a
    store that may only be read nothing but metrics is the worse."""
    now = utc_now()
    with closing(await open_output(output, bucket)) as store:
        for each in read:
            if each.balance is None:
                continue
            try:
                await asyncio.to_thread(note_balance, store, each.identity, each.balance.credits, now)
            except StoreError as error:
                logger.info("%s: the balance cannot be noted: %s", each.provider, error)
