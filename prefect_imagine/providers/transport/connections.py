"""The HTTP client of one account: its connections, its timeouts, and how late a request can arrive."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.request import getproxies, proxy_bypass

import httpx
from yarl import URL

from prefect_imagine.backoff import backoff
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.transport.over_aiohttp import AiohttpTransport, SocketOption, Wiring

MAX_CONNECTIONS = 48
"""Of one account: requests that are under way together."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, for one read, and for one create from first byte to answer. An intent's
    deadline (10 s) and `create` are 60 s in all: after that a create is over, whatever became of it.
    `after_failure` tells how long to wait after the attempt-th failure (from 1) of a read."""

    connect: float = 10.0
    read: float = 30.0
    create: float = 50.0
    after_failure: Callable[[int], float] = backoff


def open_connections(base_url: str, timeouts: Timeouts) -> httpx.AsyncClient:
    """A client whose requests all go to this base URL, through the environment's proxy where it has one. It
    keeps no cookies. Raises `ConfigurationError` where that proxy is none for HTTP."""
    wiring = Wiring(
        most=MAX_CONNECTIONS,
        # Shorter than servers keep them: a create on a connection being closed is ambiguous.
        idle_seconds=4.0,
        tls=_ssl_context,
        proxy=_proxy_of(httpx.URL(base_url)),
        socket_options=_bounded_delivery(timeouts.create),
    )
    return httpx.AsyncClient(
        transport=AiohttpTransport(wiring),
        timeout=httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=timeouts.read),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "prefect-imagine",
        },
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _bounded_delivery(seconds: float) -> tuple[SocketOption, ...]:
    """Options by which the kernel stops sending what nobody has acknowledged.

    Without them it repeats a create's bytes for up to a quarter of an hour, also when the connection was
    closed and the process has ended: long after the history was believed not to hold its job.
    """
    limit = getattr(socket, "TCP_USER_TIMEOUT", None)
    if limit is not None:
        return ((socket.IPPROTO_TCP, limit, max(1, round(seconds * 1000))),)
    # Elsewhere a closed connection drops what it has not sent.
    return ((socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),)


def _proxy_of(url: httpx.URL) -> str | None:
    """The environment's proxy for an address, as httpx finds it for clients without a transport."""
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    # An address of IPv6 is excepted without the brackets that it has beside a port.
    if not found or proxy_bypass(url.netloc.decode("ascii")) or proxy_bypass(url.host):
        return None
    address = found if "://" in found else f"http://{found}"
    try:
        proxy = URL(address)
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise ConfigurationError(
            f"the environment's proxy for {url.scheme}://{url.host} is no http(s)://host:port: set "
            f"{url.scheme}_proxy to one, or except the host by no_proxy"
        )
    return address


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()
