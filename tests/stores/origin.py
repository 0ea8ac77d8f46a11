"""A web server on loopback that answers in the ways that content servers do, the bad ones included."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the answer that was set for its path."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.origin.seen.append((self.path, dict(self.headers.items())))
        self.server.origin.answers[path](self)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def start(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up early is part of the tests."""


@dataclass
class Origin:
    """What is answered by path, and what was asked, with its headers."""

    base: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def serve(self, path: str, answer: Answer) -> str:
        """The URL at which this is answered from now on."""
        self.answers[path] = answer
        return self.base + path

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of every request for this path."""
        return [headers for asked, headers in self.seen if urlsplit(asked).path == path]


@contextmanager
def start_origin() -> Iterator[Origin]:
    """Run a server until the context ends."""
    origin = Origin()
    with Server(origin) as server:
        origin.base = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()


def whole(body: bytes, content_type: str = "application/octet-stream") -> Answer:
    """The body with its length."""

    def answer(handler: Handler) -> None:
        handler.start(200, Content_Length=str(len(body)), Content_Type=content_type)
        handler.wfile.write(body)

    return answer


def chunked(body: bytes, piece: int = 100_000) -> Answer:
    """The body without its length."""

    def answer(handler: Handler) -> None:
        handler.start(200, Transfer_Encoding="chunked")
        for at in range(0, len(body), piece):
            part = body[at : at + piece]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def cut(body: bytes, sent: int, *, declared: bool = True) -> Answer:
    """Only the start of the body, and then the connection's end."""

    def answer(handler: Handler) -> None:
        if declared:
            handler.start(200, Content_Length=str(len(body)))
            handler.wfile.write(body[:sent])
        else:
            handler.start(200, Transfer_Encoding="chunked")
            handler.wfile.write(b"%x\r\n%s\r\n" % (sent, body[:sent]))
        handler.close_connection = True

    return answer


def compressed(body: bytes) -> Answer:
    """The body compressed, although nobody asked for that."""
    packed = gzip.compress(body)

    def answer(handler: Handler) -> None:
        handler.start(200, Content_Length=str(len(packed)), Content_Encoding="gzip")
        handler.wfile.write(packed)

    return answer


def status(code: int, **headers: str) -> Answer:
    """This status and no body."""

    def answer(handler: Handler) -> None:
        length = {} if code == 204 else {"Content_Length": "0"}
        handler.start(code, **length, **headers)

    return answer


def redirect(target: str, code: int = 302) -> Answer:
    """To another address."""
    return status(code, Location=target)


def silent(release: threading.Event, body: bytes = b"", declared: int = 0) -> Answer:
    """A start of a body, and then nothing until the test lets go."""

    def answer(handler: Handler) -> None:
        if declared:
            handler.start(200, Content_Length=str(declared))
            handler.wfile.write(body)
            handler.wfile.flush()
        release.wait(30)
        handler.close_connection = True

    return answer
