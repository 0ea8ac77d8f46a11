"""Prefect servers for a whole test session, each started by whichever worker needs it first."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

START_SECONDS = 240.0
STARTS = 5
PREFECT_SERVER = "prefect-server"
PREFECT_SERVER_OF_PAGES = "prefect-server-of-pages"
PREFECT_SERVER_OF_DELETED = "prefect-server-of-deleted"
PREFECT_SERVERS = (PREFECT_SERVER, PREFECT_SERVER_OF_PAGES, PREFECT_SERVER_OF_DELETED)


def session_folder(config: pytest.Config) -> Path:
    """A folder that all workers of a session share."""
    base = Path(config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def session_server(config: pytest.Config, name: str) -> dict[str, str]:
    """The environment that makes Prefect use a session's server of this name."""
    folder = session_folder(config) / name
    return settings(folder / "home", shared_server(folder))


def settings(home: Path, api_url: str) -> dict[str, str]:
    """The environment that makes Prefect use this server, quietly and without leaving the machine."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    }


def shared_server(folder: Path) -> str:
    """The API's address of the session's server, which is started if nobody has yet."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        address = folder / "address"
        if not address.exists():
            address.write_text(_start(folder))
        return address.read_text()


def stop_shared_server(folder: Path) -> None:
    """End the server, if there is one."""
    with suppress(OSError, ValueError):
        os.killpg(int((folder / "pid").read_text()), signal.SIGTERM)


def _start(folder: Path) -> str:
    for attempt in range(1, STARTS + 1):
        try:
            return _start_once(folder)
        except RuntimeError as error:  # somebody may have taken the port before the server did
            if attempt == STARTS or "already in use" not in str(error):
                raise
    raise AssertionError("the last attempt returns or raises")


def _start_once(folder: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api_url = f"http://127.0.0.1:{port}/api"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **settings(folder / "home", api_url)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid))
    _wait(process, api_url, folder / "server.log")
    # The session's end stops it by its pid; the worker that started it may be gone by then.
    process.returncode = 0
    return api_url


def _wait(process: subprocess.Popen[bytes], api_url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{api_url}/health", timeout=5):
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the Prefect server did not start:\n{log.read_text(errors='replace')[-3000:]}")
