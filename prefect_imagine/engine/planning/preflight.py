"""Everything that can be found out before anything is spent: keys, models, prices, balances, problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import SecretStr

from prefect_imagine.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ServerError,
)
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.models import Balance, Estimate, GenerationRequest, ModelInfo
from prefect_imagine.providers.prices import PriceList, estimate
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client, spec_of
from prefect_imagine.providers.spec import Account

logger = logging.getLogger(__name__)

REACH_SECONDS = 15.0
ANSWER_SECONDS = 180.0


@dataclass(frozen=True)
class Catalog:
    """What one provider told before the first create. `models` is empty where it lists none."""

    models: tuple[ModelInfo, ...] = ()
    balance: Balance | None = None

    @cached_property
    def credits(self) -> dict[str, int | float]:
        """Credits of one generation, by model, as listed."""
        return {model.id: model.credits for model in self.models if model.credits is not None}


@dataclass(frozen=True)
class Inspection:
    """All catalogs that a batch needs."""

    catalogs: Mapping[str, Catalog] = field(default_factory=dict)

    @property
    def balances(self) -> dict[str, Balance]:
        """The balances that could be read."""
        return {name: each.balance for name, each in self.catalogs.items() if each.balance is not None}


async def inspect(clients: Mapping[str, ProviderClient], *, models: bool = True) -> Inspection:
    """Read what each provider tells.

    Raises:
        ConfigurationError: a key is refused, or an endpoint cannot be reached within 15 seconds.
        ProviderUnavailableError: a provider answers that it has an outage, or that its rate is used up.
    """
    found = await asyncio.gather(*(_reached(client, models=models) for client in clients.values()))
    return Inspection(dict(zip(clients, found, strict=True)))


async def _reached(client: ProviderClient, *, models: bool) -> Catalog:
    """One provider's catalog. Reaching it has 15 seconds; answering may take longer, as when a rate limit
    makes us wait."""
    looking = asyncio.ensure_future(_catalog(client, models=models))
    try:
        done, _ = await asyncio.wait([looking], timeout=REACH_SECONDS)
        if not done and (client.clock.known or not client.requests):
            done, _ = await asyncio.wait([looking], timeout=ANSWER_SECONDS)
        if done:
            return looking.result()
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    if not client.requests:
        raise ConfigurationError(
            f"{client.provider}: nothing could be sent for {REACH_SECONDS + ANSWER_SECONDS:.0f} s, because "
            "its rate limit is used up by others"
        )
    raise ConfigurationError(
        f"{client.provider} at {client.base_url} cannot be reached: no answer within {REACH_SECONDS:.0f} s; "
        f"check the address ({spec_of(client.provider).base_url_variable}) and the network"
    )


async def _catalog(client: ProviderClient, *, models: bool) -> Catalog:
    try:
        listed = await _models(client) if models else None
        balance = await _balance(client)
        proven = await client.check_results()
        if listed is None and balance is None and not proven:
            await client.check()
    except AuthenticationError as error:
        raise ConfigurationError(
            f"{error} (HTTP {error.status_code}): set {spec_of(client.provider).credentials_help}"
        ) from error
    except ProviderError as error:
        # Of one that has never answered, the address may be wrong.
        if isinstance(error, ServerError | RateLimitedError) or (error.retryable and client.clock.known):
            raise ProviderUnavailableError(
                f"{error}; nothing was created: run the same again later, or `resume` what there is"
            ) from error
        raise ConfigurationError(f"{error}; nothing was created") from error
    return Catalog(models=listed or (), balance=balance)


async def _models(client: ProviderClient) -> tuple[ModelInfo, ...] | None:
    if not client.capabilities.models:
        return None
    try:
        return await client.models()
    except ProviderError as error:
        if _refuses_key(error):
            raise
        logger.warning("%s: models are not checked: %s", client.provider, error)
        return None


async def _balance(client: ProviderClient) -> Balance | None:
    """The credits left. Nothing is decided by them: a wallet in a shape nobody knows is no reason to stop."""
    if not client.capabilities.balance:
        return None
    try:
        return await client.balance()
    except (ConnectionFailedError, RateLimitedError, ServerError):
        raise
    except ProviderError as error:
        if _refuses_key(error):
            raise
        logger.warning("%s: the balance is not known: %s", client.provider, error)
        return None


def _refuses_key(error: ProviderError) -> bool:
    """Whether the key itself is refused. A 403 may be about this call alone: where no other tells more,
    `check` does."""
    return isinstance(error, AuthenticationError) and error.status_code != 403


def check_requests(
    asked: Iterable[RequestedItem],
    clients: Mapping[str, ProviderClient],
    inspection: Inspection,
    problems: Problems,
) -> None:
    """Note everything that the providers would refuse, and the fallbacks of those that are known."""
    last = None
    for each in asked:
        mark = (each.row, each.fingerprint)
        if mark == last:  # a row with a count is checked once
            continue
        last = mark
        provider = each.request.provider
        models = inspection.catalogs[provider].models
        for column, message in clients[provider].problems(each.request, models):
            problems.add(message, row=each.row, column=column)
        for request in (one for one in each.fallbacks if one.provider in clients):
            models = inspection.catalogs[request.provider].models
            for column, message in clients[request.provider].problems(request, models):
                said = f"fallback {request.provider}: {column}: {message}"
                problems.add(said, row=each.row, column="on_refusal")


def check_unasked(provider: str, asked: Iterable[RequestedItem], problems: Problems) -> None:
    """Note what a provider is known to refuse without being asked, which takes no key. What models it has is
    not known where it lists them."""
    client = open_client(_unused_account(provider), pacer=Pacer())
    found = Problems()
    check_requests(asked, {provider: client}, Inspection({provider: Catalog()}), found)
    problems.include(each for each in found.found if each.column != "model" or not client.capabilities.models)


def _unused_account(provider: str) -> Account:
    """An account for a client that sends nothing."""
    spec = spec_of(provider)
    return Account(spec, key=SecretStr("none"), base_url=spec.base_url or "http://localhost")


def price(request: GenerationRequest, catalog: Catalog, prices: Mapping[str, PriceList]) -> Estimate:
    """What one request is expected to cost: by the user's list, the provider's, or an indicative one."""
    own = prices.get(request.provider, PriceList())
    return estimate(request, own, catalog.credits, spec_of(request.provider).indicative_prices)
