"""A fresh sandbox for every test; time is moved by `sandbox.advance`, never waited for."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings, running_sandbox

from .callers import Callers
from .receiver import Receiver, receiving


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """Every job takes ten seconds."""
    kinds = ("image", "video", "voice", "music", "infographic", "text")
    settings = SandboxSettings(latency=dict.fromkeys(kinds, (10.0, 10.0)), image_pixels=64)
    with running_sandbox(settings) as running:
        yield running


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A client without credentials or a base address."""
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        yield client


@pytest.fixture
def callers(sandbox: RunningSandbox) -> Iterator[Callers]:
    with Callers(sandbox) as callers:
        yield callers


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running
