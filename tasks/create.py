"""Creating generations from one's own flow."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_imagine.backoff import backoff
from prefect_imagine.errors import (
    AuthenticationError,
    ConfigurationError,
    CreateGenerationsError,
    ImagineError,
    ProviderError,
    RateLimitedError,
)
from prefect_imagine.providers.models import Generation, GenerationRequest, ModelInfo
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.tasks.clients import Credentials, open_clients

# A refused create has cost nothing and may be sent again; any other outcome is final here.
REFUSALS = 20


@task(name="create-generations", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def create_generations(
    requests: Sequence[GenerationRequest], credentials: Credentials = None
) -> list[Generation]:
    """Start generations, each at most once, and return them as the provider accepted them.

    This costs credits, and outside a batch nothing remembers it: a create whose answer is lost raises
    `AmbiguousCreateError` and is not sent again. Give this task no retries; `generate_batch` is what can
    be repeated safely.

    Args:
        requests: what to generate; several providers may be mixed.
        credentials: blocks of their providers; the environment's keys where there are none.

    Raises:
        ConfigurationError: a request cannot be sent as it stands, or a key is missing; nothing was sent.
        CreateGenerationsError: some were not created. What was is in its `created`, in the order of the
            requests.
    """
    if isinstance(requests, str | GenerationRequest) or not all(
        isinstance(each, GenerationRequest) for each in requests
    ):
        raise ConfigurationError("create_generations takes a list of GenerationRequest")
    async with open_clients((request.provider for request in requests), credentials) as clients:
        models = {provider: await _models(client) for provider, client in clients.items()}
        ready = [
            _completed(clients[request.provider], request, models[request.provider]) for request in requests
        ]
        results = await asyncio.gather(
            *(_create(clients[request.provider], request) for request in ready), return_exceptions=True
        )
    created = [result if isinstance(result, Generation) else None for result in results]
    errors = [_as_error(result) for result in results if isinstance(result, BaseException)]
    if errors:
        raise CreateGenerationsError(created, errors) from errors[0]
    return [each for each in created if each is not None]


def _as_error(error: BaseException) -> ImagineError:
    """What went wrong with one create; what nobody foresaw must not hide what the others paid for."""
    if isinstance(error, ImagineError):
        return error
    unexpected = ImagineError(f"unexpected {type(error).__name__}: {error}")
    unexpected.__cause__ = error
    return unexpected


async def _models(client: ProviderClient) -> Collection[ModelInfo]:
    return await client.models() if client.capabilities.models else ()


def _completed(
    client: ProviderClient, request: GenerationRequest, models: Collection[ModelInfo]
) -> GenerationRequest:
    problems = client.problems(request, models)
    if problems:
        listed = "; ".join(f"{column}: {message}" for column, message in problems)
        raise ConfigurationError(f"{request.provider} would refuse {request.prompt[:60]!r}: {listed}")
    return client.completed(request, models)


async def _create(client: ProviderClient, request: GenerationRequest) -> Generation:
    for attempt in range(1, REFUSALS + 1):
        try:
            return await client.create(request)
        except RateLimitedError:
            if attempt == REFUSALS:
                raise
            await asyncio.sleep(backoff(min(attempt, 4)))
        except AuthenticationError as error:
            if not error.retryable or attempt > 1:
                raise
    raise ProviderError(f"{request.provider} refused a create too often", provider=request.provider)
