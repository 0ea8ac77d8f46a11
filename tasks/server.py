"""The Prefect server that commands act on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from prefect_imagine.errors import ConfigurationError


@asynccontextmanager
async def prefect_server() -> AsyncIterator[PrefectClient]:
    """A client of the Prefect server that runs beside the flows.

    Raises:
        ConfigurationError: none is set, or it does not answer, or it refuses what is asked of it.
    """
    if not PREFECT_API_URL.value():
        # Prefect would start one for this process alone, which nothing else would ever ask.
        raise ConfigurationError("no Prefect server: run `prefect server start` and set PREFECT_API_URL")
    with server_errors():
        async with get_client() as client:
            yield client


@contextmanager
def server_errors() -> Iterator[None]:
    """Make a `ConfigurationError`, which says what to check, of what the Prefect server refuses."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (401, 403):
            message = "the Prefect server wants to know who asks: check PREFECT_API_AUTH_STRING"
            raise ConfigurationError(message) from error
        raise ConfigurationError(f"the Prefect server refused: {error.response.text[:500]}") from error
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        message = f"the Prefect server does not answer: {why}; check PREFECT_API_URL"
        raise ConfigurationError(message) from error
