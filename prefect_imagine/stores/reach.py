"""Which hosts an address given by a provider may lead to: such addresses are untrusted input."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address
from urllib.request import getproxies, proxy_bypass

import httpx

from prefect_imagine.errors import OutputError
from prefect_imagine.redaction import without_query

Address = IPv4Address | IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Where clouds answer with credentials, outside the link-local ranges.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
_PORTS = {"http": 80, "https": 443}


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: what credentials belong to."""
    return url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme)


def check_url(url: httpx.URL, api: httpx.URL) -> None:
    """Refuse a URL that is not http(s) or whose host has any address that is out of bounds.

    Raises:
        OutputError: `refused_url`; `unavailable` where the host's name does not resolve.
    """
    if url.scheme not in _PORTS or not url.host:
        raise OutputError(f"{without_query(str(url))} is not an http(s) address", reason="refused_url")
    try:
        addresses = resolve(url)
    except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
        if is_proxied(url):
            return
        raise OutputError(f"{url.host} does not resolve: {error}", reason="unavailable") from error
    for address in addresses:
        check_address(address, url, api)


def check_address(address: Address, url: httpx.URL, api: httpx.URL) -> None:
    """Refuse a private address unless the API itself is at one, and a link-local one likewise.

    Raises:
        OutputError: `refused_url`.
    """
    local = address.is_link_local or address in _METADATA
    if address.is_multicast or address.is_unspecified:
        allowed = False
    elif local:
        allowed = any(own.is_link_local for own in _api_addresses(api))
    else:
        allowed = address.is_global or any(not own.is_global for own in _api_addresses(api))
    if not allowed:
        raise OutputError(
            f"{without_query(str(url))} leads to {address}, which is not a public address",
            reason="refused_url",
        )


def is_proxied(url: httpx.URL) -> bool:
    """Whether a proxy of the environment fetches this URL, so that the peer is the proxy."""
    return bool(getproxies().keys() & {url.scheme, "all"}) and not proxy_bypass(url.host)


def resolve(url: httpx.URL) -> list[Address]:
    """All addresses of the URL's host.

    Raises:
        OSError: it has none.
    """
    port = url.port or _PORTS.get(url.scheme)
    found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    return [parse(str(entry[4][0])) for entry in found]


def parse(text: str) -> Address:
    """The address that packets go to: IPv4 may be dressed up as IPv6."""
    address = ipaddress.ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour:
            return address.sixtofour
    return address


def _api_addresses(api: httpx.URL) -> tuple[Address, ...]:
    try:
        return tuple(resolve(api))
    except OSError:
        return ()
