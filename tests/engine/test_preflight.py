"""What is looked up before a batch: what is not needed to run it does not stop it, a refused key does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from prefect_imagine.engine.planning.preflight import Inspection, inspect
from prefect_imagine.errors import ConfigurationError, ProviderUnavailableError
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.registry import open_client, spec_of
from prefect_imagine.providers.spec import Account
from tests.providers.clients import BRISK
from tests.providers.scripted import Answer, ScriptedApi, answer, scripted_api

MODELS, WALLET, ME = "GET /generations/models", "GET /credits/wallet", "GET /auth/me"
LISTED = answer([{"model_name": "seedream", "generation_type": "image", "credit_cost": 5}])
FORBIDDEN = {"detail": "Not yours"}


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    """ImagineLab in good order, until a test says otherwise."""
    async with scripted_api() as running:
        running.on(MODELS, LISTED)
        running.on(WALLET, answer({"balance": 7}))
        running.on(ME, answer({"id": 1}))
        yield running


async def looked_up(api: ScriptedApi, provider: str = "imaginelab", *, models: bool = True) -> Inspection:
    account = Account(spec_of(provider), key=SecretStr("k"), base_url=api.url, timeouts=BRISK)
    client = open_client(account, pacer=Pacer())
    try:
        return await inspect({provider: client}, models=models)
    finally:
        await client.aclose()


async def refusal(api: ScriptedApi, provider: str = "imaginelab") -> str:
    with pytest.raises(ConfigurationError) as raised:
        await looked_up(api, provider)
    return str(raised.value)


@pytest.mark.parametrize(
    "wallet",
    [
        pytest.param(answer({"coins": {"gold": 5}}), id="another shape"),
        pytest.param(answer([]), id="a list"),
        pytest.param(answer({"detail": "Not Found"}, 404), id="none"),
        pytest.param(answer(FORBIDDEN, 403), id="forbidden"),
    ],
)
async def test_a_wallet_that_cannot_be_read_is_a_warning(
    api: ScriptedApi, caplog: pytest.LogCaptureFixture, wallet: Answer
) -> None:
    api.on(WALLET, wallet)
    with caplog.at_level(logging.WARNING):
        found = await looked_up(api)
    assert found.balances == {}
    assert [model.id for model in found.catalogs["imaginelab"].models] == ["seedream"]
    assert "imaginelab: the balance is not known: " in caplog.text


@pytest.mark.parametrize(
    "models",
    [
        pytest.param(answer({"message": "see /v2"}), id="another shape"),
        pytest.param(answer({"detail": "Not Found"}, 404), id="none"),
        pytest.param(answer(FORBIDDEN, 403), id="forbidden"),
    ],
)
async def test_models_that_cannot_be_read_are_a_warning(
    api: ScriptedApi, caplog: pytest.LogCaptureFixture, models: Answer
) -> None:
    api.on(MODELS, models)
    with caplog.at_level(logging.WARNING):
        found = await looked_up(api)
    assert found.catalogs["imaginelab"].models == ()
    assert found.balances["imaginelab"].credits == 7
    assert "imaginelab: models are not checked: " in caplog.text


@pytest.mark.parametrize("status", [500, 503])
async def test_an_outage_is_told_from_a_mistake(api: ScriptedApi, status: int) -> None:
    api.on(WALLET, answer({"detail": "Try again later"}, status))
    with pytest.raises(ProviderUnavailableError, match="nothing was created: run the same again later"):
        await looked_up(api)


@pytest.mark.parametrize("endpoint", [MODELS, WALLET])
async def test_a_refused_key_is_a_refusal_that_says_what_to_set(api: ScriptedApi, endpoint: str) -> None:
    api.on(endpoint, answer({"detail": "Could not validate credentials"}, 401))
    assert "IMAGINELAB_TOKEN" in await refusal(api)


async def test_where_nothing_can_be_read_the_key_is_checked(api: ScriptedApi) -> None:
    for endpoint in (MODELS, WALLET):
        api.on(endpoint, answer(FORBIDDEN, 403))
    await looked_up(api)
    for status in (401, 403):  # some say 403 of a key they do not know
        api.on(ME, answer(FORBIDDEN, status))
        assert "IMAGINELAB_TOKEN" in await refusal(api)
    api.on(ME, answer({"detail": "Not Found"}, 404))
    assert await refusal(api) == "imaginelab: Not Found; nothing was created"


async def test_a_key_that_may_not_list_is_taken_where_nothing_new_is_asked_for(api: ScriptedApi) -> None:
    """A batch that is resumed needs no list of models."""
    error = {"detail": "API key doesn't have the read scope"}
    api.on("GET /generations", answer(error, 403))
    api.on("GET /generations/0", answer({"detail": "Not found"}, 404))
    for endpoint in ("GET /credits", "GET /balance", "GET /me"):
        api.on(endpoint, answer(error, 403))
    found = await looked_up(api, "aivisualstudio", models=False)
    assert found.balances == {}
    api.on("GET /generations/0", answer(error, 403))
    assert "set AIVISUALSTUDIO_API_KEY" in await refusal(api, "aivisualstudio")


async def test_a_token_of_imagineapi_that_may_not_list_is_taken(api: ScriptedApi) -> None:
    error = {"message": "You have no permission.", "extensions": {"code": "FORBIDDEN"}}
    api.on("GET /items/images", answer({"errors": [error]}, 403))
    assert (await looked_up(api, "imagineapi")).balances == {}
    api.on("GET /items/images", answer({"errors": [error]}, 401))
    assert "set IMAGINEAPI_TOKEN" in await refusal(api, "imagineapi")
