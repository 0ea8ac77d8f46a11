"""Connections: how long the kernel may go on sending, and through which proxy."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress

import httpx
import pytest

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.transport import connections
from prefect_imagine.providers.transport.connections import Timeouts

from .clients import READS, OpenClient, asked
from .scripted import ScriptedApi, answer


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
async def test_the_kernel_stops_sending_a_create_when_it_is_over(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(READS[provider].format(7), answer({"id": 7}))
    client = open_client(provider, api.url, timeouts=Timeouts(create=7.5))
    path = READS[provider].format(7).removeprefix("GET ")
    await client.api.read("GET", path, purpose="fetch")
    [used] = connected_to(int(api.url.rpartition(":")[2]))
    assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500


def connected_to(port: int) -> list[socket.socket]:
    """This process's sockets whose other end is this port."""
    found = []
    for each in gc.get_objects():
        if isinstance(each, socket.socket) and each.family != socket.AF_UNIX:
            with suppress(OSError):  # not connected, or closed
                found += [each] if each.getpeername()[1] == port else []
    return found


async def test_the_environments_proxy_is_used(
    api: ScriptedApi, open_client: OpenClient, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", api.url)
    monkeypatch.setenv("no_proxy", "elsewhere.invalid")
    api.default = answer({"id": 7})
    assert (await open_client(provider, "http://api.invalid/v1").create(asked(provider))).id == "7"
    [seen] = api.seen
    assert seen.headers["Host"] == "api.invalid"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:99999", "ftp://a", "http://"])
def test_a_proxy_that_is_none_for_http_is_refused_unseen(
    open_client: OpenClient, provider: str, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy.replace("//", "//user:SECRET@"))
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConfigurationError, match="proxy") as caught:
        open_client(provider, "http://api.invalid/v1")
    assert "SECRET" not in str(caught.value)


def test_addresses_of_ipv6_are_excepted_from_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:9")
    monkeypatch.setenv("no_proxy", "::1")
    assert connections._proxy_of(httpx.URL("http://[::1]:5970/v1")) is None
    assert connections._proxy_of(httpx.URL("http://[::2]:5970/v1")) == "http://proxy.invalid:9"


async def test_cookies_are_not_sent_back(api: ScriptedApi, open_client: OpenClient, provider: str) -> None:
    api.default = answer({"id": 7}, headers={"Set-Cookie": "session=1; Path=/"})
    client = open_client(provider, api.url)
    for _ in range(2):
        await client.create(asked(provider))
    assert not [seen for seen in api.seen if "Cookie" in seen.headers]


async def test_hosts_that_the_environment_excepts_are_reached_without_a_proxy(
    api: ScriptedApi, open_client: OpenClient, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    api.default = answer({"id": 7})
    assert (await open_client(provider, api.url).create(asked(provider))).id == "7"
