"""An S3 server on loopback whose conditional writes are odd in one of the ways that real ones are."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

BUCKET = "bucket"


@dataclass
class OddS3:
    """One bucket's objects by key, and how conditions are met.

    Attributes:
        wants: how `If-Match` must spell an ETag: `quoted`, `bare` (Ceph's gateway 16) or `nothing` suits it.
        ignores: headers that have no effect.
        lacks: headers of writes that are answered 501.
        gap: seconds between the look and the write.
        writes: the conditions of all writes so far.
    """

    wants: str = "quoted"
    ignores: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    gap: float = 0.0
    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    writes: list[tuple[str | None, str | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def allows(self, key: str, none_match: str | None, match: str | None) -> bool:
        """Whether a write's conditions hold now."""
        present = self.objects.get(key)
        if none_match == "*" and present is not None:
            return False
        return match is None or (present is not None and match == self._spelt(etag(present)))

    def _spelt(self, version: str) -> str | None:
        return {"quoted": version, "bare": version.strip('"')}.get(self.wants)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._show()

    def do_GET(self) -> None:
        self._show()

    def do_PUT(self) -> None:
        odd, key = self.server.odd, self._key()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if any(name in self.headers for name in odd.lacks):
            return self._answer(501, _error("NotImplemented"))
        none_match, match = self._condition("If-None-Match"), self._condition("If-Match")
        odd.writes.append((none_match, match))
        if not odd.gap:
            with odd.lock:
                return self._put(key, body, odd.allows(key, none_match, match))
        allowed = odd.allows(key, none_match, match)
        time.sleep(odd.gap)
        return self._put(key, body, allowed)

    def do_DELETE(self) -> None:
        self.server.odd.objects.pop(self._key(), None)
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _condition(self, name: str) -> str | None:
        return None if name in self.server.odd.ignores else self.headers.get(name)

    def _put(self, key: str, body: bytes, allowed: bool) -> None:
        if allowed:
            self.server.odd.objects[key] = body
            self._answer(200, ETag=etag(body))
        else:
            self._answer(412, _error("PreconditionFailed"))

    def _show(self) -> None:
        key = self._key()
        found = b"" if not key else self.server.odd.objects.get(key)
        if found is None:
            self._answer(404, _error("NoSuchKey"))
        else:
            self._answer(200, found, ETag=etag(found), Last_Modified=formatdate(usegmt=True))

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, odd: OddS3) -> None:
        self.odd = odd
        super().__init__(("127.0.0.1", 0), _Handler)


@contextmanager
def start_odd_s3(odd: OddS3) -> Iterator[OddS3]:
    """Run the server until the context ends."""
    with _Server(odd) as server:
        odd.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield odd
        finally:
            server.shutdown()
            thread.join()


def etag(body: bytes) -> str:
    """As S3 has it, in quotes."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
