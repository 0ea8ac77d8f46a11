"""A way to an S3 server on which requests are counted by kind."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_LONGEST_HEAD = 1 << 16
_CHUNK = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class CountedWay:
    """Passes everything on, and counts `GET`, `LIST`, `PUT`, `HEAD`, `POST` and `DELETE`."""

    def __init__(self, endpoint: str) -> None:
        self._target = urlsplit(endpoint)
        self.counts: Counter[str] = Counter()
        self.endpoint = ""

    async def serve(self, opened: threading.Event, closing: asyncio.Event) -> None:
        """Listen on loopback until it is closed."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, limit=_LONGEST_HEAD)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        opened.set()
        async with server:
            await closing.wait()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            target, port = self._target.hostname, self._target.port
            answers, requests = await asyncio.open_connection(target, port)
            back = asyncio.create_task(_copy(answers, writer))
            try:
                await self._count(reader, requests)
            finally:
                requests.close()
                await back
        writer.close()

    async def _count(self, reader: asyncio.StreamReader, requests: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, address, _ = head.split(b" ", 2)
            listed = method == b"GET" and b"list-type=" in address
            self.counts["LIST" if listed else method.decode()] += 1
            requests.write(head)
            found = _LENGTH.search(head)
            left = int(found[1]) if found else 0
            while left > 0:
                chunk = await reader.read(min(left, _CHUNK))
                if not chunk:
                    return
                left -= len(chunk)
                requests.write(chunk)
                await requests.drain()
            await requests.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.close()


@contextmanager
def counted_way(endpoint: str) -> Iterator[CountedWay]:
    """A counted way to an endpoint, open until the block ends."""
    way = CountedWay(endpoint)
    opened, loop, closing = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(way.serve(opened, closing),), daemon=True)
    thread.start()
    if not opened.wait(10):
        raise RuntimeError("the way to the S3 server did not open")
    try:
        yield way
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(10)
