"""ImagineLab's tokens: one login shared by all, and a new one when the old has expired."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from prefect_imagine.errors import AuthenticationError, UnexpectedResponseError
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client, spec_of
from prefect_imagine.providers.spec import Account
from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .clients import OpenClient, asked, chain_of, error_of, made
from .scripted import ScriptedApi, answer, text_answer

PASSWORD = "p@ssword-0123456789"


@pytest.fixture
def logging_in(api: ScriptedApi) -> ProviderClient:
    """A client with email and password."""
    account = Account(spec_of("imaginelab"), email="a@b.c", password=SecretStr(PASSWORD), base_url=api.url)
    return open_client(account, pacer=Pacer())


async def test_twenty_callers_share_the_first_login(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("imaginelab", sandbox)
    await asyncio.gather(*(client.check() for _ in range(20)))
    assert sandbox.books.requests["imaginelab"]["login"] == 1


async def test_twenty_callers_share_the_login_after_an_expiry(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client("imaginelab", sandbox)
    [job] = await made(client, "a lake")
    sandbox.advance(3601)
    rows = await asyncio.gather(*(client.fetch(job.id) for _ in range(20)))
    assert {row.id for row in rows} == {job.id}
    assert sandbox.books.requests["imaginelab"]["login"] == 2


async def test_a_create_with_an_expired_token_is_refused_and_can_be_tried_again(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client("imaginelab", sandbox)
    await client.check()
    sandbox.advance(3601)
    with pytest.raises(AuthenticationError) as caught:
        await made(client, "a lake")
    assert caught.value.retryable
    assert sandbox.books.jobs == []
    await made(client, "a lake")
    assert sandbox.books.requests["imaginelab"]["create"] == 2


async def test_the_first_request_may_be_a_create(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    """It holds the one permit there is until the limit is known: the login must not wait for another."""
    async with asyncio.timeout(10):
        await open_client("imaginelab", sandbox).create(asked("imaginelab"))


async def test_a_wrong_password(sandbox: RunningSandbox) -> None:
    address = sandbox.base_urls["imaginelab"]
    account = Account(
        spec_of("imaginelab"), email="you@example.com", password=SecretStr(PASSWORD), base_url=address
    )
    client = open_client(account, pacer=Pacer())
    error = await error_of(client.check())
    await client.aclose()
    assert isinstance(error, AuthenticationError)
    assert "check email and password" in str(error)
    assert PASSWORD not in "".join(f"{each}{each!r}{vars(each)}" for each in chain_of(error))


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_a_refused_login(api: ScriptedApi, logging_in: ProviderClient, status: int) -> None:
    api.on("POST /auth/login", answer({"detail": f"{PASSWORD} is wrong"}, status))
    error = await error_of(logging_in.create(asked("imaginelab")))
    await logging_in.aclose()
    assert isinstance(error, AuthenticationError)
    assert api.count("POST /generations") == 0
    assert PASSWORD not in "".join(f"{each}{each!r}" for each in chain_of(error))


@pytest.mark.parametrize("body", ["{}", '{"access_token": null}', "[]", '"abc"'])
async def test_a_login_without_a_token(api: ScriptedApi, logging_in: ProviderClient, body: str) -> None:
    api.on("POST /auth/login", text_answer(body))
    error = await error_of(logging_in.create(asked("imaginelab")))
    await logging_in.aclose()
    assert isinstance(error, UnexpectedResponseError)
    assert api.count("POST /generations") == 0


async def test_a_login_is_tried_again_when_the_server_is_in_trouble(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    sandbox.faults.add(FaultRule("error_before", on="login", times=1))
    await open_client("imaginelab", sandbox).check()
    assert sandbox.books.requests["imaginelab"]["login"] == 2


async def test_a_token_that_is_refused_right_away_is_renewed_once(
    api: ScriptedApi, logging_in: ProviderClient
) -> None:
    api.on("POST /auth/login", answer({"access_token": "t", "token_type": "bearer"}))
    api.on("GET /auth/me", answer({"detail": "Could not validate credentials"}, 401))
    error = await error_of(logging_in.check())
    await logging_in.aclose()
    assert isinstance(error, AuthenticationError)
    assert (api.count("POST /auth/login"), api.count("GET /auth/me")) == (2, 2)
