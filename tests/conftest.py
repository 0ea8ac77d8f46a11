"""What all tests share: real servers on loopback, and a guard that keeps them there."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.sandbox.server.s3 import S3Server, start_s3_server
from tests.prefect_server import (
    PREFECT_SERVER,
    PREFECT_SERVERS,
    session_folder,
    session_server,
    stop_shared_server,
)

# A machine that is busy with other work makes no example wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

S3_SERVERS = "s3-servers"
"""A file for each one that runs, named for its process."""
KINDS = ("image", "video", "voice", "music", "infographic", "text")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no server, also where workers were killed in the middle of their tests."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        folder = session_folder(session.config)
        for name in PREFECT_SERVERS:
            stop_shared_server(folder / name)
        for left in (folder / S3_SERVERS).glob("*"):
            with suppress(ProcessLookupError):
                os.kill(int(left.name), signal.SIGTERM)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Prefect's own synchronous clients leave their sockets to the garbage collector."""
    # One installation serves this folder: its tests stay together where workers steal from each other.
    items.sort(key=lambda item: "tests/operations/" not in item.nodeid)
    for item in items:
        if "prefect_environment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


class LeftLoopbackError(RuntimeError):
    """A test reached for the network."""


@pytest.fixture(autouse=True)
def stay_on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing may connect to, or look up, anything but this machine; and nothing touches one's own home."""
    connect = socket.socket.connect
    lookup = socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(str(address[0])):
            raise LeftLoopbackError(f"a test connects to {address}")
        connect(self, address)

    def guarded_lookup(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in (None, "", "localhost"):
            return lookup(host, *rest, **more)
        try:  # a number needs no name server
            return lookup(host, *rest, **{**more, "flags": more.get("flags", 0) | socket.AI_NUMERICHOST})
        except socket.gaierror as error:
            if name.endswith(".invalid"):
                raise
            raise LeftLoopbackError(f"a test looks up {name}") from error

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """The four APIs, with small pictures and jobs of a few tenths of a second."""
    latency = dict.fromkeys(KINDS, (0.1, 0.4))
    with running_sandbox(SandboxSettings(latency=latency, image_pixels=64)) as running:
        yield running


@pytest.fixture
def keys(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    """The sandbox, with its keys in the environment."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return sandbox


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    running = session_folder(request.config) / S3_SERVERS
    running.mkdir(exist_ok=True)
    with start_s3_server(tmp_path_factory.mktemp("s3")) as server:
        (running / str(server.pid)).touch()
        yield server
    (running / str(server.pid)).unlink()


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The environment of AWS's clients, pointed at the S3 server."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def prefect_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """A real Prefect server, for tests that run the command line or a worker as a process."""
    return session_server(request.config, PREFECT_SERVER)


@pytest.fixture
def prefect_server(prefect_environment: dict[str, str]) -> Iterator[str]:
    """The same server, for flows that run in the test's own process; gives the API's address."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
        temporary_settings,
    )

    api_url = prefect_environment["PREFECT_API_URL"]
    settings = {
        PREFECT_API_URL: api_url,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
        PREFECT_CLIENT_MAX_RETRIES: 15,  # on a busy machine its database is locked for long, and answers 503
    }
    with temporary_settings(settings):
        yield api_url
        EventsWorker.drain_all()
        APILogWorker.drain_all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
