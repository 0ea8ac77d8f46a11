"""Clients of all four providers, against the sandbox or against a server that answers what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from prefect_imagine.sandbox import RateLimit, RunningSandbox, SandboxSettings, running_sandbox
from tests.providers.clients import PROVIDERS

from .clients import OpenClient, opener
from .scripted import ScriptedApi, scripted_api

KINDS = ("image", "video", "voice", "music", "infographic", "text")
SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """No rate limits; every job takes ten seconds of a clock that `advance` moves."""
    settings = SandboxSettings(
        latency=dict.fromkeys(KINDS, (10.0, 10.0)), rate_limits=dict.fromkeys(PROVIDERS, RateLimit())
    )
    with running_sandbox(settings) as running:
        yield running


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider in turn."""
    return str(request.param)


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    """A server that answers what a test tells it to."""
    async with scripted_api() as running:
        yield running


@pytest.fixture
async def open_client() -> AsyncIterator[OpenClient]:
    """Opens clients, and closes them after the test."""
    async with AsyncExitStack() as stack:
        yield opener(stack, SecretStr(SECRET))
