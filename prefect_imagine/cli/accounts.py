"""Commands on an account: `models` and `balance`. They need no Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

from prefect_imagine.cli import output
from prefect_imagine.cli.blocks import open_account
from prefect_imagine.cli.options import Credentials, Json, provider_with


def models(
    provider: Annotated[str, provider_with(lambda able: able.models, "list models")],
    /,
    *,
    credentials: Credentials = (),
    json: Json = False,
) -> int:
    """What a provider can generate, and for how many credits."""
    return asyncio.run(_models(provider, dict(credentials), json=json))


def balance(
    provider: Annotated[str, provider_with(lambda able: able.balance, "report a balance")],
    /,
    *,
    credentials: Credentials = (),
    json: Json = False,
) -> int:
    """Credits left on an account."""
    return asyncio.run(_balance(provider, dict(credentials), json=json))


async def _models(provider: str, credentials: Mapping[str, str], *, json: bool) -> int:
    async with open_account(provider, credentials) as client:
        found = await client.models()
    if json:
        listed = [model.model_dump(mode="json", exclude={"parameters"}) for model in found]
        output.print_json({"provider": provider, "models": listed})
    else:
        cells = ((model.id, model.kind, model.credits, model.name) for model in found)
        output.rows(f"Models of {provider}", ("model", "kind", "credits", "name"), cells)
    return 0


async def _balance(provider: str, credentials: Mapping[str, str], *, json: bool) -> int:
    async with open_account(provider, credentials) as client:
        found = await client.balance()
    note = "" if found.credits else "0 is also what a key that may not see the balance is told"
    if json:
        output.print_json({"provider": provider, "credits": found.credits} | ({"note": note} if note else {}))
    else:
        print(f"{provider}: {found.credits} credits{f' ({note})' if note else ''}")
    return 0
