"""Carries httpx's requests over aiohttp's connections, which take a fifth of the processor's time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import Connection
from yarl import URL

BEFORE_SENDING = "prefect_imagine.before_sending"
"""The extension of a request that holds a `BeforeSending`."""
BeforeSending = Callable[[], None]
"""Called before each part of a request is written, its head first. What it raises stops the request, and
reaches the caller as it is."""
SocketOption = tuple[int, int, int] | tuple[int, int, bytes]
_LONGEST_HEADER = 64 * 1024
_OF_THE_PACKING = (b"content-encoding", b"content-length", b"transfer-encoding")
_BROKEN_ANSWERS = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError)
_SET_BY_HTTPX = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True)
class Wiring:
    """How connections are made.

    Attributes:
        most: connections at once; further requests wait for one.
        idle_seconds: after which an unused connection is closed.
        tls: loads the certificates, in a thread, before the first request: that takes a tenth of a second.
        proxy: the address of an HTTP proxy, with its user and password if it wants them.
        socket_options: set on each connection.
        most_bytes: of one answer, unpacked. Some APIs answer with the media themselves.
    """

    most: int
    idle_seconds: float
    tls: Callable[[], ssl.SSLContext]
    proxy: str | None = None
    socket_options: tuple[SocketOption, ...] = ()
    most_bytes: int = 512 * 1024 * 1024


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Of one event loop: that in which the first request is sent. Follows no redirects, keeps no cookies,
    unpacks answers, and takes the timeouts `connect` and `read` of a request."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._proxy, self._proxy_headers = _split(wiring.proxy)
        self._opened: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the whole answer. Raises `httpx.TransportError`."""
        limits = request.extensions.get("timeout", {})
        body = await request.aread()
        sending = _Sending(request.extensions.get(BEFORE_SENDING))
        session = await self._session()
        with sending, _as_httpx():
            async with session.request(
                request.method,
                URL(str(request.url), encoded=True),
                data=body or None,
                headers=_headers(request),
                allow_redirects=False,
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=limits.get("connect"), sock_read=limits.get("read")
                ),
                trace_request_ctx=sending,
            ) as answer:
                content = await _content(answer, self._wiring.most_bytes)
        return httpx.Response(
            answer.status,
            headers=[each for each in answer.raw_headers if each[0].lower() not in _OF_THE_PACKING],
            stream=httpx.ByteStream(content),
            extensions={"reason_phrase": (answer.reason or "").encode("latin-1", "replace")},
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()

    async def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            tls = await asyncio.to_thread(self._wiring.tls)
            if self._opened is None:  # other requests may have waited for it too
                self._opened = _open_session(self._wiring, tls)
        return self._opened


def _open_session(wiring: Wiring, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    def open_socket(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        for option in wiring.socket_options:
            opened.setsockopt(*option)
        return opened

    connector = _Connector(
        limit=wiring.most,
        keepalive_timeout=wiring.idle_seconds,
        ssl=tls,
        # What the system resolves, whatever else is installed.
        resolver=aiohttp.ThreadedResolver(),
        socket_factory=open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_SET_BY_HTTPX,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        trace_configs=[_told_of_sending()],
    )


class _Connector(aiohttp.TCPConnector):
    """Hands out no connection on which something came that nobody has asked for, as of a server that answers
    twice or says why it closes: the next request would take that for its own answer."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 aiohttp calls it so
    ) -> Connection:
        for _ in range(self.limit + 1):
            connection = await super().connect(req, traces, timeout)
            try:
                # What the system has of it by now is looked for in one round, and taken in the next.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            except BaseException:
                connection.close()
                raise
            protocol = connection.protocol
            if protocol is not None and protocol.is_connected() and not protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ServerDisconnectedError("the server speaks before it is asked")


class _Sending:
    """One request on its way out, of which aiohttp tells before it writes the head and the body. As a context
    it raises what stopped the request, whatever aiohttp made of that."""

    def __init__(self, before_sending: BeforeSending | None) -> None:
        self._ask = before_sending
        self._begun = False
        self._stopped_by: Exception | None = None

    def head(self) -> None:
        # aiohttp repeats what may be repeated when a connection breaks; here nothing goes out uncounted.
        if self._begun:
            raise httpx.RemoteProtocolError("the server disconnected without an answer")
        self._begun = True
        self.body()

    def body(self) -> None:
        if self._ask is None:
            return
        try:
            self._ask()
        except Exception as error:
            self._stopped_by = error
            raise

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and self._stopped_by is not None:
            raise self._stopped_by


def _told_of_sending() -> aiohttp.TraceConfig:
    async def head(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.head()

    async def body(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.body()

    telling = aiohttp.TraceConfig()
    telling.on_request_headers_sent.append(head)
    telling.on_request_chunk_sent.append(body)
    return telling


async def _content(answer: aiohttp.ClientResponse, most: int) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > most:
            raise httpx.ReadError(f"the answer has more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]


def _split(proxy: str | None) -> tuple[URL | None, dict[str, str] | None]:
    """A proxy's address, and what aiohttp makes its `Proxy-Authorization` of: errors quote addresses."""
    if proxy is None:
        return None, None
    address = URL(proxy)
    if not address.user:
        return address, None
    credentials = b64encode(f"{address.user}:{address.password or ''}".encode()).decode()
    return address.with_user(None), {"Authorization": f"Basic {credentials}"}


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raises what aiohttp raises as the error of httpx that means the same."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except aiohttp.ServerTimeoutError as error:
        raise httpx.ReadTimeout(str(error)) from error
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise httpx.ProxyError(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error)) from error
    except _BROKEN_ANSWERS as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except ValueError as error:
        raise httpx.LocalProtocolError(str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(str(error)) from error
