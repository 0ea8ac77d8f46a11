"""Accounts by block names or from the environment, and stores by address or bucket block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL

from prefect_imagine.batches.opening import Accounts
from prefect_imagine.blocks.credentials import BLOCKS, ProviderCredentials
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.registry import Account, account_from_environment
from prefect_imagine.stores import Store, open_store
from prefect_imagine.tasks.server import server_errors


def accounts(credentials: Mapping[str, str]) -> Accounts:
    """Finds accounts: by the block named for the provider, else from the environment."""

    async def find(providers: Sequence[str]) -> Mapping[str, Account]:
        found: dict[str, Account] = {}
        missing: list[str] = []
        for provider in providers:
            try:
                found[provider] = (
                    (await load_block(provider, credentials[provider])).account()
                    if provider in credentials
                    else account_from_environment(provider)
                )
            except ConfigurationError as error:
                missing.append(str(error))
        if missing:
            raise ConfigurationError("\n".join(missing))
        return found

    return find


async def load_block(provider: str, name: str) -> ProviderCredentials:
    """The credentials block of a provider by its name. Raises `ConfigurationError`."""
    block = await _loaded(BLOCKS[provider], name, f"{provider}: there is no credentials block")
    assert isinstance(block, ProviderCredentials)
    return block


async def open_output(output: str, bucket: str | None = None) -> Store:
    """The store at an address, or in the bucket of a prefect-aws `S3Bucket` block. Raises
    `ConfigurationError`."""
    if bucket is None:
        return open_store(output)
    from prefect_aws import S3Bucket  # half a second that only its users pay

    block = await _loaded(S3Bucket, bucket, "there is no S3Bucket block")
    prefix = "/".join(part.strip("/") for part in (block.bucket_folder, output) if part.strip("./"))
    client = block.credentials.get_s3_client()
    return open_store(f"s3://{block.bucket_name}/{prefix}".rstrip("/"), client=client)


async def _loaded(block: type[Block], name: str, missing: str) -> Any:
    with server_errors():
        try:
            return await block.aload(name)
        except ValueError as error:
            where = "" if PREFECT_API_URL.value() else " on no server: set PREFECT_API_URL"
            raise ConfigurationError(f"{missing} {name!r}{where}: {error}") from error
