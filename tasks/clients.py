"""Clients for single tasks: from blocks that are handed in, else from the environment's keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import account_from_environment, open_client, spec_of

Credentials = BaseCredentials | Sequence[BaseCredentials] | None
"""One block, several blocks for several providers, or none: the environment's keys."""


@asynccontextmanager
async def open_clients(
    providers: Iterable[str], credentials: Credentials
) -> AsyncIterator[Mapping[str, ProviderClient]]:
    """Clients of these providers, closed at the end. Raises `ConfigurationError`."""
    given = [credentials] if isinstance(credentials, BaseCredentials) else list(credentials or ())
    wrong = next((each for each in given if not isinstance(each, BaseCredentials)), None)
    if wrong is not None:
        raise ConfigurationError(
            f"a {type(wrong).__name__} is no credentials block: load one, and hand it in itself"
        )
    blocks = {block.provider_name: block for block in given}
    wanted = list(dict.fromkeys(providers))
    for provider in wanted:
        spec_of(provider)
    if blocks and wanted and not blocks.keys() & set(wanted):
        # Otherwise the environment's key would pay where another was meant to.
        raise ConfigurationError(f"credentials of {', '.join(blocks)} are of no use for {', '.join(wanted)}")
    async with AsyncExitStack() as stack:
        clients: dict[str, ProviderClient] = {}
        for provider in wanted:
            block = blocks.get(provider)
            account = account_from_environment(provider) if block is None else block.account()
            clients[provider] = open_client(account)
            stack.push_async_callback(clients[provider].aclose)
        yield clients
