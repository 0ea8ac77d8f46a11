"""Running a sandbox: inside an event loop, beside a test in a thread of its own, or as a program."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

from prefect_imagine.sandbox.core.accounts import PASSWORD, email_of, key_of
from prefect_imagine.sandbox.core.books import Books
from prefect_imagine.sandbox.core.faults import Faults
from prefect_imagine.sandbox.core.outputs import Origins
from prefect_imagine.sandbox.core.settings import AIVISUALSTUDIO, BLOCKADELABS, IMAGINEAPI, SandboxSettings
from prefect_imagine.sandbox.core.world import World
from prefect_imagine.sandbox.server.app import Applications

START_SECONDS = 10.0
SHUTDOWN_SECONDS = 0.2
REQUEST_LINE_BYTES = 16 * 1024
"""As much as Node, which ImagineAPI runs on, takes by default: a list of ids has an end."""


class RunningSandbox:
    """A sandbox that listens: where it is, and what a driver in the same process may look at and change."""

    def __init__(self, world: World, applications: Applications, origins: Origins) -> None:
        self._world = world
        self._applications = applications
        self.url = origins.api
        self.cdn_url = origins.cdn
        self.port = int(origins.api.rpartition(":")[2])
        self.base_urls = {name: origins.api + base for name, base in applications.bases.items()}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point the command line and the blocks at this sandbox."""
        return self.environment_of("")

    def environment_of(self, account: str) -> dict[str, str]:
        """The same for a further account, of any name: other keys at the same addresses. It shares neither
        balance nor rate limit nor history with others, and has books of its own."""
        return {
            "IMAGINELAB_EMAIL": email_of(account),
            "IMAGINELAB_PASSWORD": PASSWORD,
            "BLOCKADELABS_API_KEY": key_of(BLOCKADELABS, account),
            "IMAGINEAPI_TOKEN": key_of(IMAGINEAPI, account),
            "AIVISUALSTUDIO_API_KEY": key_of(AIVISUALSTUDIO, account),
            **{f"{name.upper()}_BASE_URL": url for name, url in self.base_urls.items()},
        }

    @property
    def books(self) -> Books:
        return self._world.books

    @property
    def faults(self) -> Faults:
        return self._world.faults

    @property
    def settings(self) -> SandboxSettings:
        return self._world.settings

    def configure(self, **changes: Any) -> SandboxSettings:
        """Change settings from now on; `ValueError` on what is unknown."""
        return self._world.configure(**changes)

    def report(self, **options: Any) -> dict[str, Any]:
        """The books as `GET /_sandbox/books` tells them; options `jobs`, `sums` and `provider`."""
        return self._applications.report.books(**options)

    def advance(self, seconds: float) -> None:
        """Make the sandbox's clock jump ahead: jobs progress, limits reset, tokens expire; nobody waits."""
        self._world.advance(seconds)

    def reset(self) -> None:
        self._world.reset()


class Sandbox:
    """The four APIs emulated on loopback, not yet listening."""

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self._settings = settings or SandboxSettings()

    @asynccontextmanager
    async def serve(
        self, host: str = "127.0.0.1", port: int = 0, cdn_port: int = 0
    ) -> AsyncGenerator[RunningSandbox, None]:
        """Listen until the block ends; port 0 is any free one. Each use starts with empty books."""
        world = World(self._settings)
        applications = Applications(world)
        async with AsyncExitStack() as stack:
            api = await _listen(stack, applications.api, host, port)
            cdn = await _listen(stack, applications.cdn, host, cdn_port)
            origins = Origins(f"http://{host}:{api}", f"http://{host}:{cdn}")
            applications.locate(origins)
            await stack.enter_async_context(world.deliveries.running())
            yield RunningSandbox(world, applications, origins)


async def _listen(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> int:
    """The port the application listens on until the stack closes."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=False,
        shutdown_timeout=SHUTDOWN_SECONDS,
        max_line_size=REQUEST_LINE_BYTES,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, backlog=1024).start()
    return int(runner.addresses[0][1])


class _Thread:
    """An event loop in a thread that serves until told to stop."""

    def __init__(self, settings: SandboxSettings | None, host: str, port: int) -> None:
        self._sandbox, self._host, self._port = Sandbox(settings), host, port
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._running: RunningSandbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._work, name="sandbox", daemon=True)

    def start(self) -> RunningSandbox:
        self._thread.start()
        self._ready.wait(START_SECONDS)
        if self._running is None:
            raise RuntimeError("the sandbox did not start") from self._problem
        return self._running

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as problem:
            self._problem = problem
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        stop = asyncio.Event()
        async with self._sandbox.serve(self._host, self._port) as running:
            self._loop, self._stop, self._running = asyncio.get_running_loop(), stop, running
            self._ready.set()
            await stop.wait()


@contextmanager
def running_sandbox(
    settings: SandboxSettings | None = None, host: str = "127.0.0.1", port: int = 0
) -> Generator[RunningSandbox, None, None]:
    """A sandbox beside the caller, in a thread of its own; nothing of it is left when the block ends."""
    thread = _Thread(settings, host, port)
    running = thread.start()
    try:
        yield running
    finally:
        thread.stop()


def main(port: int = 0, settings: SandboxSettings | None = None) -> None:
    """Serve until SIGINT or SIGTERM, after printing an environment file that points everything here."""
    asyncio.run(_serve_until_signal(port, settings))


async def _serve_until_signal(port: int, settings: SandboxSettings | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(settings).serve(port=port) as running:
        print(_environment_file(running), flush=True)
        await stop.wait()


def _environment_file(running: RunningSandbox) -> str:
    """Lines that a shell, systemd's `EnvironmentFile=` and docker's `--env-file` all read."""
    return "\n".join(
        [
            "# from a file: `set -a; . FILE; set +a` in a shell, EnvironmentFile=FILE for systemd",
            *(f"{name}={value}" for name, value in running.environment.items()),
            "# further accounts: -NAME behind a key, you+NAME@example.com for ImagineLab",
            f"# books: {running.url}/_sandbox/books",
        ]
    )
