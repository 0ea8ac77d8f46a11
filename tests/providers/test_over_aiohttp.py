"""The transport: what servers send and how they break off, as httpx tells it; nothing sent twice."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from prefect_imagine.providers.transport.over_aiohttp import BEFORE_SENDING, AiohttpTransport, Wiring

from .scripted import ScriptedApi, answer


def client_with(**wiring: object) -> httpx.AsyncClient:
    """A client of a transport with this wiring."""
    given = {"most": 4, "idle_seconds": 4.0, "tls": ssl.create_default_context, **wiring}
    return httpx.AsyncClient(transport=AiohttpTransport(Wiring(**given)))  # type: ignore[arg-type]


@asynccontextmanager
async def speaking(*answers: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that writes these bytes, one after each request of a connection, and closes the connection
    where there is `None` or no more; its address, and the heads it has read."""
    heads: list[bytes] = []

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if each is None:
                break
            writer.write(each)
            await writer.drain()

    async with listening_raw(say) as url:
        yield url, heads


@asynccontextmanager
async def listening_raw(
    say: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that says this on each connection, and closes it; its address."""
    handling: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        async with closing(writer):
            await say(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*filter(None, handling))


@asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close it at the end, also where the other end has gone."""
    try:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            yield
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


ODD = {
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n{}", 200, b"{}"),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\n[1]", 200, b"[1]"),
    "in lower case": (b"HTTP/1.1 201 Created\r\ncontent-length:2\r\n\r\n{}", 201, b"{}"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;name=value\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n",
        200,
        b"{}",
    ),
    "continued": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    "hinted": (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    "empty": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "an unknown status": (b"HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\n{}", 599, b"{}"),
    "a long header": (
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 40_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        200,
        b"{}",
    ),
    "Latin letters": (b"HTTP/1.1 200 OK\r\nX-Name: \xe9\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
}


@pytest.mark.parametrize("odd", ODD)
async def test_odd_answers_are_read(odd: str) -> None:
    sent, status, body = ODD[odd]
    async with speaking(sent) as (url, _), client_with() as client:
        seen = await client.get(url)
        assert (seen.status_code, seen.content) == (status, body)


async def test_compressed_answers_are_unpacked() -> None:
    packed = gzip.compress(b'{"id": 7}')
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with speaking(head + packed) as (url, _), client_with() as client:
        assert (await client.get(url)).json() == {"id": 7}


BROKEN = {
    "closed": None,
    "cut in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}",
    "cut in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{}",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_answers_are_errors_and_nothing_is_sent_again(broken: str, method: str) -> None:
    async with speaking(BROKEN[broken]) as (url, heads), client_with() as client:
        with pytest.raises(httpx.TransportError):
            await client.request(method, url)
        assert len(heads) == 1


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_connection_that_breaks_later_sends_nothing_again(method: str) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    async with speaking(good, None) as (url, heads), client_with() as client:
        await client.get(url)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.request(method, url)
        assert len(heads) == 2


@pytest.mark.parametrize("stray", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\n{}", b"?"])
async def test_what_came_on_an_idle_connection_answers_nothing(stray: bytes) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    came, send = asyncio.Event(), asyncio.Event()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(good)
        if not send.is_set():
            await send.wait()
            writer.write(stray)
            await writer.drain()
            came.set()
        await reader.read()

    async with listening_raw(say) as url, client_with() as client:
        assert (await client.get(url)).status_code == 200
        send.set()
        await came.wait()
        assert (await client.post(url)).status_code == 200


async def test_a_server_that_speaks_first_is_not_asked() -> None:
    connected: list[bool] = []

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" * 2)
        connected.append(bool(await reader.read()))

    async with listening_raw(say) as url, client_with() as client:
        with suppress(httpx.TransportError):  # what it says may come later than the question
            await client.post(url)
    assert 1 <= len(connected) <= 5


async def test_packed_answers_count_as_they_are_unpacked() -> None:
    packed = gzip.compress(b" " * 100_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with speaking(head + packed) as (url, _), client_with(most_bytes=50_000) as client:
        with pytest.raises(httpx.ReadError, match="more than 50000 bytes"):
            await client.get(url)


async def test_an_answer_above_the_size_is_not_taken() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000
    async with speaking(endless) as (url, _), client_with(most_bytes=4000) as client:
        with pytest.raises(httpx.ReadError, match="more than 4000 bytes"):
            await client.get(url)


async def test_silence_is_a_timeout() -> None:
    async with speaking(b"", b"") as (url, _), client_with() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(url, timeout=httpx.Timeout(5, read=0.05))


async def test_where_nobody_listens_is_told() -> None:
    async with speaking() as (url, _):
        pass
    async with client_with() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


@pytest.mark.parametrize("part", [1, 2])
async def test_what_is_stopped_before_a_part_of_it_is_not_sent(api: ScriptedApi, part: int) -> None:
    asked: list[int] = []

    def stop() -> None:
        asked.append(len(asked) + 1)
        if asked[-1] == part:
            raise RuntimeError("too late")

    api.default = answer({})
    async with client_with() as client:
        with pytest.raises(RuntimeError, match="too late"):
            await client.post(f"{api.url}/one", json={"a": 1}, extensions={BEFORE_SENDING: stop})
        await client.post(f"{api.url}/two", json={"a": 2})
    assert [seen.path for seen in api.seen] == ["/two"]


async def test_what_is_asked_arrives_as_httpx_writes_it(api: ScriptedApi) -> None:
    api.default = answer({})
    async with client_with() as client:
        await client.get(f"{api.url}/items?filter[status][_in]=a,b%2Cc&x=%20+")
        await client.post(f"{api.url}/form", data={"a": "ü &"}, files={"file": ("a.png", b"12", "image/png")})
    async with httpx.AsyncClient() as plain:
        await plain.get(f"{api.url}/items?filter[status][_in]=a,b%2Cc&x=%20+")
    ours, form, theirs = api.seen
    assert ours == theirs
    assert 'name="a"\r\n\r\nü &\r\n' in form.body
    assert form.headers["Content-Type"].startswith("multipart/form-data; boundary=")


async def test_a_proxy_gets_its_user_and_password(api: ScriptedApi) -> None:
    api.default = answer({"id": 7})
    proxy = api.url.replace("http://", "http://user:p%40ss@")
    async with client_with(proxy=proxy) as client:
        assert (await client.get("http://api.invalid/one")).json() == {"id": 7}
    [seen] = api.seen
    assert seen.headers["Host"] == "api.invalid"
    assert seen.headers["Proxy-Authorization"] == httpx.BasicAuth("user", "p@ss")._auth_header
