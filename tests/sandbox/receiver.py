"""A webhook's receiving end: a real HTTP server that keeps what it is sent and answers as it is told."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prefect_imagine.sandbox import RunningSandbox

from .callers import Callers

WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def signature(self) -> dict[str, str]:
        parts = (part.partition("=") for part in self.headers["X-Webhook-Signature"].split(","))
        return {name: value for name, _, value in parts}


@dataclass
class Receiver:
    """`statuses` are the answers to come, each used once; after them every answer is 200. While `held`, none
    is given."""

    url: str = ""
    statuses: list[int] = field(default_factory=list[int])
    received: list[Received] = field(default_factory=list[Received])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    held: threading.Event = field(default_factory=threading.Event)

    def wait(self, count: int = 1) -> list[Received]:
        """What has been received, once it is so much."""
        until(lambda: len(self.received) >= count)
        return list(self.received)

    def take(self, request: Received) -> int:
        self.received.append(request)
        return self.statuses.pop(0) if self.statuses else 200


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; an error when it does not in any sensible time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens until the block ends."""
    receiver = Receiver()
    receiver.held.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(Received(self.path, dict(self.headers), raw))
            receiver.held.wait(WAIT_SECONDS)
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            receiver.take(Received(f"GET {self.path}", dict(self.headers), b""))
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # joined at the end
        request_queue_size = 256

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The sandbox has hung up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.held.set()
            server.shutdown()
            thread.join()


def tally(sandbox: RunningSandbox, provider: str = "aivisualstudio") -> dict[str, Any]:
    counts: dict[str, Any] = sandbox.report(jobs=False)["webhooks"][provider]
    return counts


def settled(sandbox: RunningSandbox, provider: str = "aivisualstudio", **counts: Any) -> dict[str, Any]:
    """The tally, once it says so; what it does not name is zero."""
    expected = dict.fromkeys(tally(sandbox), 0) | {"refused": {}} | counts
    until(lambda: tally(sandbox, provider) == expected)
    return expected


def subscribe(callers: Callers, url: str, suffix: str = "", **more: Any) -> dict[str, Any]:
    answer = callers.client("aivisualstudio", suffix).post("/webhooks", json={"url": url, **more})
    assert answer.is_success, answer.text
    hook: dict[str, Any] = answer.json()
    return hook


def is_signed(one: Received, key: str) -> bool:
    given = one.signature
    told = hmac.digest(key.encode(), given["t"].encode() + b"." + one.raw, "sha256").hex()
    return set(given) == {"t", "v1"} and told == given["v1"]
