"""The credentials blocks: Prefect's own standards, no secret in sight, and clients that work."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import subprocess
import sys
import urllib.request
import urllib.response
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr

from prefect_imagine import blocks
from prefect_imagine.blocks import (
    BLOCKS,
    AIVisualStudioCredentials,
    BlockadeLabsCredentials,
    ImagineAPICredentials,
    ImagineLabCredentials,
    ProviderCredentials,
)
from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.tasks.accounts import webhook_secret_keeper

LOGOS = Path(__file__).parents[2] / "docs" / "logos"


class _ShippedLogos(urllib.request.BaseHandler):
    """Answers for the addresses of our logos with the files that are published there."""

    handler_order = 100

    def https_open(self, request: urllib.request.Request) -> urllib.response.addinfourl:
        data = (LOGOS / request.full_url.rpartition("/")[2]).read_bytes()
        answer = urllib.response.addinfourl(io.BytesIO(data), Message(), request.full_url, 200)
        answer.msg = "OK"  # type: ignore[attr-defined]  # urllib's own handlers set it too
        return answer


@pytest.fixture(autouse=True)
def shipped_logos() -> Iterator[None]:
    urllib.request.install_opener(urllib.request.build_opener(_ShippedLogos))
    yield
    urllib.request.install_opener(urllib.request.build_opener())


@pytest.mark.parametrize("block", [*BLOCKS.values(), ProviderCredentials], ids=[*BLOCKS, "plug-in"])
class TestStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, block: type[Block]) -> type[Block]:
        return block


def test_registering_the_module_registers_these_and_no_other() -> None:
    assert set(_registered()) == {*BLOCKS.values(), ProviderCredentials}


def _registered() -> list[type[Block]]:
    """The classes that `prefect block register -m prefect_imagine.blocks` registers."""
    return [each for _, each in inspect.getmembers(blocks) if Block.is_block_class(each)]


def _block(provider: str, sandbox: RunningSandbox) -> BaseCredentials:
    keys = sandbox.environment
    base_url = sandbox.base_urls[provider]
    if provider == "imaginelab":
        return ImagineLabCredentials(
            base_url=base_url,
            email=keys["IMAGINELAB_EMAIL"],
            password=SecretStr(keys["IMAGINELAB_PASSWORD"]),
        )
    if provider == "blockadelabs":
        return BlockadeLabsCredentials(base_url=base_url, api_key=SecretStr(keys["BLOCKADELABS_API_KEY"]))
    if provider == "imagineapi":
        return ImagineAPICredentials(base_url=base_url, token=SecretStr(keys["IMAGINEAPI_TOKEN"]))
    return AIVisualStudioCredentials(base_url=base_url, api_key=SecretStr(keys["AIVISUALSTUDIO_API_KEY"]))


@pytest.mark.parametrize("provider", BLOCKS)
async def test_a_client_of_the_block_is_let_in(provider: str, sandbox: RunningSandbox) -> None:
    client = _block(provider, sandbox).get_client()
    await client.check()
    await client.aclose()


async def test_the_block_of_plug_ins_opens_any_provider_by_its_name(sandbox: RunningSandbox) -> None:
    key = SecretStr(sandbox.environment["AIVISUALSTUDIO_API_KEY"])
    address = sandbox.base_urls["aivisualstudio"]
    block = ProviderCredentials(provider="aivisualstudio", base_url=address, api_key=key)
    assert block.account() == _block("aivisualstudio", sandbox).account()
    client = block.get_client()
    await client.check()
    await client.aclose()
    with pytest.raises(ConfigurationError, match="no provider 'nobody'"):
        ProviderCredentials(provider="nobody", api_key=key).account()


@pytest.mark.parametrize("provider", BLOCKS)
async def test_a_saved_block_comes_back_whole(
    provider: str, sandbox: RunningSandbox, prefect_server: str
) -> None:
    block = _block(provider, sandbox)
    block = block.model_copy(update={"prices": PriceList(default=3), "rate": "60/10s"})
    await block.asave(f"test-{provider}", overwrite=True)
    loaded: object = await BLOCKS[provider].aload(f"test-{provider}")
    assert isinstance(loaded, BaseCredentials)
    assert loaded.account() == block.account()


@pytest.mark.parametrize("provider", BLOCKS)
def test_no_secret_is_shown(provider: str, sandbox: RunningSandbox) -> None:
    block = _block(provider, sandbox)
    account = block.account()
    secrets = [each.get_secret_value() for each in (account.key, account.password) if each is not None]
    shown = f"{block!r} {block} {block.model_dump_json()} {account!r}"
    assert secrets
    assert not any(secret in shown for secret in secrets)


EARLIER = """
import sys
from prefect.blocks.core import Block
from pydantic import SecretStr

class Earlier(Block):
    _block_type_name = "AI Visual Studio Credentials"
    _block_type_slug = "ai-visual-studio-credentials"
    base_url: str
    prices: dict = {}
    rate: str | None = None
    api_key: SecretStr

Earlier(base_url=sys.argv[1], api_key=SecretStr(sys.argv[2])).save("test-earlier", overwrite=True)
"""
"""Saves a block with the fields that it had before there were webhooks."""


async def test_a_block_of_an_edition_without_webhooks_comes_back_and_takes_a_secret(
    sandbox: RunningSandbox, prefect_server: str
) -> None:
    now = _block("aivisualstudio", sandbox).account()
    assert now.key is not None
    words = [sys.executable, "-c", EARLIER, now.base_url, now.key.get_secret_value()]
    await asyncio.to_thread(
        subprocess.run, words, check=True, env={**os.environ, "PREFECT_API_URL": prefect_server}
    )
    loaded: object = await AIVisualStudioCredentials.aload("test-earlier")
    assert isinstance(loaded, AIVisualStudioCredentials)
    assert (loaded.account(), loaded.webhook_secret) == (now, None)

    keep = await webhook_secret_keeper("aivisualstudio", "test-earlier")
    await keep(SecretStr("whsec_1"))
    await keep(SecretStr("whsec_2"))
    again: object = await AIVisualStudioCredentials.aload("test-earlier")
    assert isinstance(again, AIVisualStudioCredentials)
    assert (again.account(), again.webhook_secret) == (now, SecretStr("whsec_1,whsec_2"))
    assert "whsec_1" not in f"{again!r} {again} {again.model_dump_json()}"


async def test_a_block_without_a_place_for_a_webhook_s_secret_is_refused(
    sandbox: RunningSandbox, prefect_server: str
) -> None:
    await _block("imaginelab", sandbox).asave("test-no-webhooks", overwrite=True)
    with pytest.raises(ConfigurationError, match="no place for a webhook's secret"):
        await webhook_secret_keeper("imaginelab", "test-no-webhooks")


def test_an_empty_block_says_what_to_fill_in() -> None:
    with pytest.raises(ConfigurationError, match="IMAGINELAB_EMAIL"):
        ImagineLabCredentials().get_client()


def test_a_rate_that_is_none_is_refused() -> None:
    block = AIVisualStudioCredentials(api_key=SecretStr("key"), rate="fast")
    with pytest.raises(ConfigurationError, match="60/10s"):
        block.get_client()
