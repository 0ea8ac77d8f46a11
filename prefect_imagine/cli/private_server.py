"""A Prefect server for one command, where no other is set; run as a module with a port, it is that server.

Prefect would start one itself, in the command's process group: a Ctrl-C in the terminal ends that one first,
and the run then waits for a server that is gone. This one is in a session of its own, is ended last, and ends
by itself when the command dies: it watches the pipe that the command holds.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import ConfigurationError

LOOK_SECONDS = 0.1
DRAIN_SECONDS = 3.0
END_SECONDS = 5.0

urls: set[str] = set()
"""Of the servers that this process has started, which no other machine shares."""


@asynccontextmanager
async def some_prefect_server() -> AsyncIterator[None]:
    """Make sure that there is a Prefect server while the context lasts: the one that is set, or one's own.

    Raises `ConfigurationError` where it does not start.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    async with _own_server() as url:
        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield
            finally:
                await _drain()


@asynccontextmanager
async def _own_server() -> AsyncIterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    process = _start(port)
    urls.add(url)
    try:
        await _started(process, url)
        yield url
    finally:
        urls.discard(url)
        await asyncio.to_thread(_end, process)


def _start(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "prefect_imagine.cli.private_server", str(port)],
        stdin=subprocess.PIPE,
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """As Prefect has it for such a server, with this process's settings; without its UI, and untraced."""
    from prefect.settings import get_current_settings

    own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    own["OTEL_SDK_DISABLED"] = "true"  # its spans would outnumber those of the run
    return {**os.environ, **own, **get_current_settings().to_environment_variables(exclude_unset=True)}


async def _started(process: subprocess.Popen[bytes], url: str) -> None:
    import httpx
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

    deadline = Deadline(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
    async with httpx.AsyncClient(trust_env=False) as client:
        while not deadline.passed:
            if process.poll() is not None:
                raise ConfigurationError(
                    f"nothing was created: Prefect's server ended with code {process.returncode} while it "
                    "started; set PREFECT_API_URL to use another"
                )
            with suppress(httpx.HTTPError):
                if (await client.get(f"{url}/health")).is_success:
                    return
            await asyncio.sleep(LOOK_SECONDS)
    raise ConfigurationError(
        "nothing was created: Prefect's server did not start in time; set PREFECT_API_URL"
    )


async def _drain() -> None:
    """Let Prefect hand over what it has to say of the run, for a moment, while there is still a server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        draining = worker.drain_all(timeout=DRAIN_SECONDS)
        if asyncio.iscoroutine(draining) or isinstance(draining, asyncio.Future):
            with suppress(TimeoutError):
                await asyncio.wait_for(draining, DRAIN_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def serve(port: int) -> None:
    """Serve until the pipe on standard input ends."""
    import uvicorn

    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="critical",
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def watch() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        threading.Timer(END_SECONDS, os._exit, (0,)).start()

    threading.Thread(target=watch, daemon=True).start()
    server.run()
    os._exit(0)  # its services' threads have nothing left to do


if __name__ == "__main__":
    serve(int(sys.argv[1]))
