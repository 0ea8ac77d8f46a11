"""Accounts for the command line: from the environment without Prefect, from blocks with it."""

from __future__ import annotations

from collections.abc import Mapping

from prefect_imagine.cli.server import prepare_prefect
from prefect_imagine.engine.planning.accounts import Accounts, accounts_by
from prefect_imagine.providers.registry import account_from_environment
from prefect_imagine.providers.spec import Account


def accounts_for(credentials: Mapping[str, str]) -> Accounts:
    """Finds accounts: in the environment, or by the blocks named for them."""
    if credentials:
        prepare_prefect()
        from prefect_imagine.tasks.accounts import accounts

        return accounts(credentials)
    return accounts_by(_from_environment)


async def _from_environment(provider: str) -> Account:
    return account_from_environment(provider)
