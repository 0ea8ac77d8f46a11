"""Accounts for the command line: from the environment without Prefect, from blocks with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prefect_imagine.cli.server import prepare_prefect
from prefect_imagine.engine.planning.accounts import Accounts, accounts_by
from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import account_from_environment, open_client
from prefect_imagine.providers.spec import Account


def accounts_for(credentials: Mapping[str, str]) -> Accounts:
    """Finds accounts: in the environment, or by the blocks named for them."""
    if credentials:
        prepare_prefect()
        from prefect_imagine.tasks.accounts import accounts

        return accounts(credentials)
    return accounts_by(_from_environment)


@asynccontextmanager
async def open_account(provider: str, credentials: Mapping[str, str]) -> AsyncIterator[ProviderClient]:
    """A client of one account, for a command that asks it a few things. What it refuses is bad input."""
    found = await accounts_for(credentials)([provider])
    client = open_client(found[provider])
    try:
        yield client
    except ProviderError as error:
        raise ConfigurationError(str(error)) from error
    finally:
        await client.aclose()


async def _from_environment(provider: str) -> Account:
    return account_from_environment(provider)
