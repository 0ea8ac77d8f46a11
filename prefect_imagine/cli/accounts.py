"""Commands on an account: `models` and `balance`. They need no Prefect server."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect_imagine.cli import output
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client


def models(arguments: argparse.Namespace) -> int:
    """What a provider can generate."""
    return asyncio.run(_models(arguments))


def balance(arguments: argparse.Namespace) -> int:
    """Credits left on an account."""
    return asyncio.run(_balance(arguments))


@asynccontextmanager
async def _client(arguments: argparse.Namespace) -> AsyncIterator[ProviderClient]:
    found = await accounts_for(dict(arguments.credentials))([arguments.provider])
    client = open_client(found[arguments.provider])
    try:
        yield client
    except ProviderError as error:
        raise ConfigurationError(str(error)) from error
    finally:
        await client.aclose()


async def _models(arguments: argparse.Namespace) -> int:
    async with _client(arguments) as client:
        found = await client.models()
    if arguments.json:
        listed = [model.model_dump(mode="json", exclude={"parameters"}) for model in found]
        output.print_json({"provider": arguments.provider, "models": listed})
    else:
        cells = ((model.id, model.kind, model.credits, model.name) for model in found)
        output.rows(f"Models of {arguments.provider}", ("model", "kind", "credits", "name"), cells)
    return 0


async def _balance(arguments: argparse.Namespace) -> int:
    async with _client(arguments) as client:
        found = await client.balance()
    if arguments.json:
        output.print_json({"provider": arguments.provider, "credits": found.credits})
    else:
        print(f"{arguments.provider}: {found.credits} credits")
    return 0
