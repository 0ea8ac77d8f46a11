"""The balances of all accounts that can be found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.registry import open_client, provider_names
from prefect_imagine.providers.spec import Account


@dataclass(frozen=True)
class AccountBalance:
    """What is left on an account, or why that is not known.

    Attributes:
        identity: names the account, where there is one.
    """

    provider: str
    balance: Balance | None
    note: str = ""
    identity: str = ""


async def read_balances(
    find: Callable[[Sequence[str]], Awaitable[Mapping[str, Account]]], named: Collection[str] = ()
) -> list[AccountBalance]:
    """The balances of the accounts that are found. An account that is not is left out, unless its provider is
    one of the `named`."""
    read = []
    for provider in provider_names():
        try:
            account = (await find([provider]))[provider]
        except ConfigurationError as error:
            if provider in named:
                read.append(AccountBalance(provider, None, str(error)))
            continue
        read.append(await _read(account))
    return read


async def _read(account: Account) -> AccountBalance:
    client = open_client(account)
    try:
        if not client.capabilities.balance:
            return AccountBalance(account.provider, None, "the provider reports none")
        return AccountBalance(account.provider, await client.balance(), identity=account.identity)
    except ProviderError as error:
        return AccountBalance(account.provider, None, str(error))
    finally:
        await client.aclose()
