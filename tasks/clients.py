"""Clients for single tasks: from blocks that are handed in, else from the environment's keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from prefect_imagine.blocks import ProviderCredentials
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import account_from_environment, open_client

Credentials = ProviderCredentials | Sequence[ProviderCredentials] | None
"""One block, several blocks for several providers, or none: the environment's keys."""


@asynccontextmanager
async def open_clients(
    providers: Iterable[str], credentials: Credentials
) -> AsyncIterator[Mapping[str, ProviderClient]]:
    """Clients of these providers, closed at the end. Raises `ConfigurationError`."""
    given = [credentials] if isinstance(credentials, ProviderCredentials) else list(credentials or ())
    blocks = {block.provider: block for block in given}
    async with AsyncExitStack() as stack:
        clients: dict[str, ProviderClient] = {}
        for provider in dict.fromkeys(providers):
            block = blocks.get(provider)
            account = account_from_environment(provider) if block is None else block.account()
            clients[provider] = open_client(account)
            stack.push_async_callback(clients[provider].aclose)
        yield clients
