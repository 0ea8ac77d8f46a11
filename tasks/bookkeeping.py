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
from prefect_imagine.billing.spending import CreditReport
from prefect_imagine.blocks.credentials import BaseCredentials
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
    *,
    balances: Sequence[AccountBalance] = (),
    told_at: datetime | None = None,
    prices: Mapping[str, PriceList] | None = None,
) -> CreditReport:
    """What the batches under a root cost in the last whole days, by the calendar of a local time, and what
    that says of accounts. Raises `ConfigurationError` or `StoreError`.

    Args:
        balances: what is left on accounts; they were read before.
        told_at: when that was.
        prices: by provider, what a credit costs of items that were planned when nobody said it.
    """
    with closing(await open_output(output, bucket)) as store:
        return await asyncio.to_thread(
            spending.read_report, store, days, now, balances=balances, told_at=told_at, prices=prices
        )


@task(name="read-balances", **_OPTIONS)
async def read_balances(credentials: Mapping[str, str | BaseCredentials]) -> list[AccountBalance]:
    """The balances of the accounts with a block of credentials, or a key in the environment."""
    return await balances.read_balances(accounts(credentials), credentials)


async def note_balances(output: str, bucket: str | Block | None, report: CreditReport) -> None:
    """Note under a root what is left on the accounts that were used there, for metrics, and for the next
    report to begin with. Raises `ConfigurationError`; a store may be one that is only read."""
    accounts = report.accounts
    with closing(await open_output(output, bucket)) as store:
        try:
            for each in accounts.balances:
                if each.balance is not None:
                    credits = each.balance.credits
                    await asyncio.to_thread(note_balance, store, each.identity, credits, accounts.at)
            await asyncio.to_thread(report.note, store)
        except StoreError as error:
            logger.warning("the next credit report cannot begin where this one ends: %s", error)
