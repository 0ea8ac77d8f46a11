"""The Prefect server that commands act on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    try:
        async with get_client() as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise ConfigurationError(f"the Prefect server refused: {error.response.text[:500]}") from error
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        message = f"the Prefect server does not answer: {why}; check PREFECT_API_URL"
        raise ConfigurationError(message) from error
