"""Opening clients for tests, and the shortest requests that each provider takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from prefect_imagine.errors import ImagineError
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.models import Generation, GenerationRequest, HistoryPage
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import BUILT_IN, account_from_environment, open_client, spec_of
from prefect_imagine.providers.spec import Account
from prefect_imagine.providers.transport.connections import Timeouts
from prefect_imagine.sandbox import RunningSandbox

OpenClient = Callable[..., Any]

MODELS = {
    "imaginelab": "seedream-5.0-lite",
    "blockadelabs": "stable-skybox",
    "imagineapi": "midjourney",
    "aivisualstudio": "prunaai/z-image-turbo",
}
UNKNOWN_IDS = {
    "imaginelab": "999999999",
    "blockadelabs": "999999999",
    "imagineapi": "2b9b0d3e-7a3a-4a63-8d3f-0123456789ab",
    "aivisualstudio": "gen_ffffffffffff",
}
CREATES = {
    "imaginelab": "POST /generations",
    "blockadelabs": "POST /imagine/requests",
    "imagineapi": "POST /items/images",
    "aivisualstudio": "POST /generate/image",
}
READS = {
    "imaginelab": "GET /generations/{}",
    "blockadelabs": "GET /imagine/requests/{}",
    "imagineapi": "GET /items/images/{}",
    "aivisualstudio": "GET /generations/{}",
}
LISTS = {
    "imaginelab": "GET /generations",
    "blockadelabs": "GET /imagine/myRequests",
    "imagineapi": "GET /items/images",
    "aivisualstudio": "GET /generations",
}

PROVIDERS = tuple(spec.name for spec in BUILT_IN)
"""The names of the built-in providers."""


BRISK = Timeouts(after_failure=lambda attempt: 0.01 * attempt)
"""Reads that fail are tried again in a moment."""


def opener(stack: AsyncExitStack, secret: SecretStr) -> OpenClient:
    """A function that opens a client of a provider at an address, or in a sandbox."""

    def open_at(
        provider: str,
        where: RunningSandbox | str,
        *,
        key: str | None = None,
        timeouts: Timeouts | None = None,
        pacer: Pacer | None = None,
    ) -> ProviderClient:
        if isinstance(where, RunningSandbox):
            account = account_from_environment(provider, where.environment)
        else:
            account = Account(spec_of(provider), key=secret, base_url=where)
        if key is not None:
            account = replace(account, key=SecretStr(key))
        client = open_client(replace(account, timeouts=timeouts or BRISK), pacer=pacer or Pacer())
        stack.push_async_callback(client.aclose)
        return client

    return open_at


def asked(provider: str, prompt: str = "a lake", **more: Any) -> GenerationRequest:
    """A request for a picture that the provider takes."""
    return GenerationRequest(provider=provider, model=MODELS[provider], prompt=prompt, **more)


async def made(client: ProviderClient, *prompts: str) -> list[Generation]:
    """New jobs, one for each prompt, one after the other."""
    return [await client.create(asked(client.provider, prompt)) for prompt in prompts]


async def pages_of(client: ProviderClient, **query: Any) -> list[HistoryPage]:
    """All pages of the history."""
    return [page async for page in client.history(**query)]


def rows_of(pages: Iterable[HistoryPage]) -> list[Generation]:
    """What the pages show."""
    return [row for page in pages for row in page.generations]


def chain_of(error: BaseException) -> list[BaseException]:
    """An error with all that led to it."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and each not in found:
            found.append(each)
            pending += [each.__cause__, each.__context__]
    return found


async def error_of(call: Any) -> ImagineError:
    """The error a call ends with."""
    try:
        await call
    except ImagineError as error:
        return error
    raise AssertionError("the call did not fail")
