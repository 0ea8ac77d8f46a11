"""Balances, models and estimates, as tasks."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from prefect_imagine.engine.planning.preflight import Catalog, price
from prefect_imagine.providers.models import Balance, Estimate, GenerationKind, GenerationRequest, ModelInfo
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.tasks.clients import READS, Credentials, open_clients


@task(name="get-balance", **READS)
async def get_balance(provider: str, credentials: Credentials = None) -> Balance:
    """Credits left on an account.

    Args:
        provider: its name.
        credentials: a block of the provider; the environment's key where there is none.

    Raises:
        UnsupportedOperationError: the provider reports none.
    """
    async with open_clients([provider], credentials) as clients:
        return await clients[provider].balance()


@task(name="list-models", **READS)
async def list_models(
    provider: str, kind: GenerationKind | None = None, credentials: Credentials = None
) -> list[ModelInfo]:
    """What a provider can generate, and for how many credits where it says so.

    Args:
        provider: its name.
        kind: only models of this kind.
        credentials: a block of the provider; the environment's key where there is none.

    Raises:
        UnsupportedOperationError: the provider lists nothing.
    """
    async with open_clients([provider], credentials) as clients:
        return list(await clients[provider].models(kind))


@task(name="estimate-credits", **READS)
async def estimate_credits(
    requests: Sequence[GenerationRequest],
    credentials: Credentials = None,
    prices: dict[str, PriceList] | None = None,
) -> list[Estimate]:
    """What each request is expected to cost, in the order of the requests; nothing is created.

    Args:
        requests: what would be generated; several providers may be mixed.
        credentials: blocks of their providers; the environment's keys where there are none.
        prices: price lists by provider; they beat what the providers list.
    """
    async with open_clients((request.provider for request in requests), credentials) as clients:
        models = {
            provider: await client.models() if client.capabilities.models else ()
            for provider, client in clients.items()
        }
        completed = [
            clients[request.provider].completed(request, models[request.provider]) for request in requests
        ]
    return [price(request, Catalog(models=models[request.provider]), prices or {}) for request in completed]
