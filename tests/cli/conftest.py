"""A shell beside a sandbox, shared by a module's tests: each run through Prefect takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.sandbox.core.settings import AIVISUALSTUDIO, RateLimit
from prefect_imagine.sandbox.server.s3 import S3Server
from tests.cli.commands import Shell
from tests.cli.here import HereShell
from tests.conftest import KINDS

LATENCY = dict.fromkeys(KINDS, (0.05, 0.2))


@pytest.fixture(scope="module")
def providers() -> Iterator[RunningSandbox]:
    """The four APIs with quick jobs and no rate limit, under which a look costs no create, for a module."""
    limits = {AIVISUALSTUDIO: RateLimit()}
    settings = SandboxSettings(latency=LATENCY, image_pixels=32, rate_limits=limits)
    with running_sandbox(settings) as running:
        yield running


@pytest.fixture(scope="module")
def shell(
    providers: RunningSandbox, prefect_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Shell:
    """A shell with the sandbox's keys and a Prefect server."""
    folder = tmp_path_factory.mktemp("shell")
    own = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")}
    return HereShell(folder, {**prefect_environment, **providers.environment, **own}, here=_is_short)


def _is_short(words: list[str]) -> bool:
    return words[0] not in ("demo", "sandbox")


@pytest.fixture(scope="module")
def bare_shell(providers: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell with the sandbox's keys whose Prefect server does not exist: whoever needs it, fails."""
    folder = tmp_path_factory.mktemp("bare")
    own = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")}
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(folder / "prefect")}
    return HereShell(folder, {**nowhere, **providers.environment, **own}, here=_loads_no_prefect)


@pytest.fixture
def keyless(bare_shell: Shell, providers: RunningSandbox) -> Iterator[Shell]:
    """The same without keys either: whoever asks a provider, fails."""
    before = dict(bare_shell.environment)
    for name in providers.environment:
        bare_shell.environment.pop(name, None)
    yield bare_shell
    bare_shell.environment.update(before)


def _loads_no_prefect(words: list[str]) -> bool:
    return not {"sandbox", "demo", "--credentials"} & {*words}


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server, shell: Shell) -> Iterator[str]:
    """The name of an empty bucket that the shell's commands can reach."""
    shell.environment.update(s3_server.environment)
    yield s3_server.make_bucket()
    for variable in s3_server.environment:
        del shell.environment[variable]
