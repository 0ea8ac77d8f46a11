"""Credentials stay where they belong: in one header."""

from __future__ import annotations

import logging
import traceback

import pytest
from aiohttp import ClientSession, web

from prefect_imagine.errors import AuthenticationError, ConfigurationError, ImagineError
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.core.accounts import KEYS, PASSWORD

from .clients import CREATES, READS, OpenClient, asked, chain_of, error_of, made, pages_of
from .conftest import SECRET
from .scripted import Answer, ScriptedApi, answer


async def test_a_wrong_key_shows_nowhere_in_its_error(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox, key=SECRET)
    error = await error_of(client.check())
    assert isinstance(error, AuthenticationError)
    shown = "".join(traceback.format_exception(error)) + "".join(
        f"{each} {each!r} {vars(each)}" for each in chain_of(error)
    )
    assert SECRET not in shown


async def test_a_key_that_the_api_repeats_is_struck_out(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    message = f"{SECRET} is no key"
    bodies = {
        "imaginelab": {"detail": message},
        "blockadelabs": {"error": message},
        "imagineapi": {"errors": [{"message": message}]},
        "aivisualstudio": {"error": {"code": "invalid_api_key", "message": message}},
    }
    api.on(CREATES[provider], answer(bodies[provider], 401))
    error = await error_of(open_client(provider, api.url).create(asked(provider)))
    assert isinstance(error, ImagineError)
    assert "*** is no key" in str(error)


def relay(target: str) -> Answer:
    """Passes everything on to another server."""

    async def give(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with (
            ClientSession() as session,
            session.request(
                request.method, target + request.path_qs, headers=headers, data=await request.read()
            ) as got,
        ):
            return web.Response(body=await got.read(), status=got.status, content_type=got.content_type)

    return give


async def exercise(client: object, provider: str) -> None:
    """Every call that all clients have."""
    jobs = await made(client, "one", "two", "three")  # type: ignore[arg-type]
    await client.check()  # type: ignore[attr-defined]
    await client.poll([job.id for job in jobs])  # type: ignore[attr-defined]
    await client.fetch(jobs[0].id)  # type: ignore[attr-defined]
    await pages_of(client, prompt="one")  # type: ignore[arg-type]


async def test_the_server_sees_credentials_in_one_header_only(
    sandbox: RunningSandbox, api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.default = relay(sandbox.base_urls[provider])
    await exercise(open_client(provider, api.url, key=KEYS[provider]), provider)
    header = "x-api-key" if provider == "blockadelabs" else "authorization"
    assert len(api.seen) >= 6
    for seen in api.seen:
        assert KEYS[provider] not in f"{seen.target} {seen.body}"
        holding = [name.lower() for name, value in seen.headers.items() if KEYS[provider] in value]
        assert holding == [header]


async def test_no_log_record_holds_a_credential(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "aiohttp", "asyncio", "prefect_imagine"):
        caplog.set_level(logging.DEBUG, logger=name)
    client = open_client(provider, sandbox)
    await exercise(client, provider)
    secrets = [secret for secret in client.api.auth.secrets() if secret]
    assert secrets
    assert PASSWORD in secrets or provider != "imaginelab"
    assert "httpx" in {record.name for record in caplog.records}
    logged = "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert not [secret for secret in secrets if secret != PASSWORD and secret in logged]
    assert f"password={PASSWORD}" not in logged


async def test_logged_addresses_have_no_query(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="httpx")
    await exercise(open_client(provider, sandbox), provider)
    assert any("HTTP Request" in message for message in caplog.messages)
    assert not [message for message in caplog.messages if "limit=" in message or "filter" in message]


async def test_no_redirect_takes_the_key_elsewhere(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(READS[provider].format(7), answer({}, 302, {"Location": f"{api.url}/elsewhere"}))
    client = open_client(provider, api.url)
    path = READS[provider].format(7).removeprefix("GET ")
    await error_of(client.api.read("GET", path, purpose="fetch", attempts=1))
    assert api.count("GET /elsewhere") == 0


@pytest.mark.parametrize("dirt", ["\n", "\r\n", " ", "\t"])
async def test_a_key_that_was_pasted_with_space_around_it_is_the_key(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, dirt: str
) -> None:
    await open_client(provider, sandbox, key=f"{dirt}{KEYS[provider]}{dirt}").check()


@pytest.mark.parametrize("dirt", ["\n", "\x00", "\x7f", " ", "é", "\u2028"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, dirt: str
) -> None:
    with pytest.raises(ConfigurationError, match="the key has characters") as caught:
        open_client(provider, sandbox, key=f"sk-SEC{dirt}RET")
    assert "SEC" not in str(caught.value)
    assert "RET" not in str(caught.value)


async def test_what_an_api_says_moves_no_cursor_and_forges_no_line(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    message = "bad\nERROR item 7 was refused\x1b[2J\x1b]0;title\x07\u202e invalid"
    body = {"detail": message, "error": message, "message": message}
    api.on(CREATES[provider], answer(body, 403))
    error = await error_of(open_client(provider, api.url).create(asked(provider)))
    assert str(error).isprintable()
    assert "item 7 was refused" in str(error)
