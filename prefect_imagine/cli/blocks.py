"""Accounts for the command line: from the environment without Prefect, from blocks with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect_imagine.cli.server import prepare_prefect
from prefect_imagine.engine.prepare import Accounts
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.registry import account_from_environment
from prefect_imagine.providers.spec import Account


def accounts_for(credentials: Mapping[str, str]) -> Accounts:
    """Finds accounts: in the environment, or by the blocks named for them."""
    if credentials:
        prepare_prefect()
        from prefect_imagine.tasks.accounts import accounts

        return accounts(credentials)
    return _from_environment


async def _from_environment(providers: Sequence[str]) -> Mapping[str, Account]:
    found: dict[str, Account] = {}
    missing: list[str] = []
    for provider in providers:
        try:
            found[provider] = account_from_environment(provider)
        except ConfigurationError as error:
            missing.append(str(error))
    if missing:
        raise ConfigurationError("\n".join(missing))
    return found
