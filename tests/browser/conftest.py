"""A real Chromium, and pages that remember everything that goes wrong on them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    async_playwright,
    expect,
)

from tests.prefect_server import PREFECT_SERVER_OF_PAGES, session_server

PATIENCE = 60.0
"""Seconds that a page may take to show something: the machine may have other work."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

expect.set_options(timeout=1000 * PATIENCE)


def chromium_path() -> str | None:
    """The Chromium or Chrome that is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Problems:
    """What went wrong on a page: errors on its console or in its scripts, requests that failed, and requests
    to anything but this machine. Loads that the browser gave up itself are none: a player has seen enough, or
    the page was left."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._ignored: list[re.Pattern[str]] = []
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failure)
        page.on("response", self._on_response)

    def ignore(self, pattern: str) -> None:
        """Let problems pass whose text has a match of this regular expression."""
        self._ignored.append(re.compile(pattern))

    def assert_none(self) -> None:
        """Fail with all that was found."""
        assert [text for text in self.found if not any(each.search(text) for each in self._ignored)] == []

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"console: {message.text} ({message.location['url']})")

    def _on_error(self, error: Error) -> None:
        self.found.append(f"script: {error.message}")

    def _on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname not in (
            "127.0.0.1",
            "localhost",
        ):
            self.found.append(f"external: {request.url}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":
            self.found.append(f"failed: {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"failed: {response.url}: HTTP {response.status}")


@pytest.fixture(scope="session")
def prefect_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """A server for pages alone. Many runs at once make SQLite refuse a server's writes for a minute, which a
    page shows as an error."""
    return session_server(request.config, PREFECT_SERVER_OF_PAGES)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One browser for all tests of a process. They run in its event loop: mark them
    `pytest.mark.asyncio(loop_scope="session")`."""
    path = chromium_path()
    if path is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    home: dict[str, str | float | bool] = {**os.environ, "HOME": str(tmp_path_factory.mktemp("home"))}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS, env=home)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """A page with cookies and storage of its own: 1280 by 900, light, and nothing moves for its own sake."""
    context = await chromium.new_context(
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
    )
    yield await context.new_page()
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def problems(page: Page) -> AsyncIterator[Problems]:
    """What goes wrong on the page. The test fails at its end if that is anything."""
    found = Problems(page)
    yield found
    found.assert_none()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, with further headers, and logs nothing."""

    def __init__(self, *args: Any, headers: Mapping[str, str] = {}, **more: Any) -> None:
        self._headers = headers
        super().__init__(*args, **more)

    def end_headers(self) -> None:
        """End them with the further ones."""
        for name, value in self._headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Serve(Protocol):
    """Serves a folder over HTTP on loopback, with further headers, and gives its address."""

    def __call__(self, folder: Path, headers: Mapping[str, str] = ...) -> str: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Servers for the length of a test."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path, headers: Mapping[str, str] = {}) -> str:
        handler = partial(QuietHandler, directory=str(folder), headers=headers)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
