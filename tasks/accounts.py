"""Accounts by block names or from the environment, and stores by address or bucket block."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL
from pydantic import SecretStr

from prefect_imagine.blocks.credentials import (
    BLOCKS,
    AIVisualStudioCredentials,
    BaseCredentials,
    ProviderCredentials,
)
from prefect_imagine.engine.planning.accounts import Accounts, accounts_by
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.registry import account_from_environment, check_providers
from prefect_imagine.providers.signatures import split_secrets
from prefect_imagine.providers.spec import Account
from prefect_imagine.stores import Store, open_store
from prefect_imagine.tasks.server import server_errors


def accounts(credentials: Mapping[str, str | BaseCredentials]) -> Accounts:
    """Finds accounts: by the block that is given or named for the provider, else from the environment.

    Raises `ConfigurationError` for a name that is no provider's: the environment's key would pay instead.
    """
    check_providers(credentials, "credentials")

    async def find(provider: str) -> Account:
        block = await _block(provider, credentials.get(provider))
        return account_from_environment(provider) if block is None else block.account()

    return accounts_by(find)


async def _block(provider: str, given: str | BaseCredentials | None) -> BaseCredentials | None:
    if given is None:
        return None
    block = await load_block(provider, given) if isinstance(given, str) else given
    if block.provider_name != provider:
        raise ConfigurationError(f"credentials: {provider} is given a block of {block.provider_name}")
    return block


async def load_block(provider: str, name: str) -> BaseCredentials:
    """The credentials block of a provider by its name. Raises `ConfigurationError`."""
    block = await _loaded(
        BLOCKS.get(provider, ProviderCredentials), name, f"{provider}: there is no credentials block"
    )
    assert isinstance(block, BaseCredentials)
    return block


async def webhook_secrets(provider: str, name: str) -> tuple[SecretStr, ...]:
    """The secrets of webhooks in a credentials block. Raises `ConfigurationError`."""
    block = await load_block(provider, name)
    return split_secrets(block.webhook_secret) if isinstance(block, AIVisualStudioCredentials) else ()


async def webhook_secret_keeper(provider: str, name: str) -> Callable[[SecretStr], Awaitable[None]]:
    """Saves a webhook's secret in a credentials block, beside those that it holds: deliveries of others are
    signed with them. Raises `ConfigurationError` where there is no such block, or no place in it."""
    block = await load_block(provider, name)
    if not isinstance(block, AIVisualStudioCredentials):
        raise ConfigurationError(f"{provider}: a {type(block).__name__} has no place for a webhook's secret")

    async def keep(secret: SecretStr) -> None:
        secrets = dict.fromkeys((*split_secrets(block.webhook_secret), secret))
        block.webhook_secret = SecretStr(",".join(each.get_secret_value() for each in secrets))
        with server_errors():
            await block.asave(name, overwrite=True)

    return keep


async def secret_of(name: str) -> SecretStr:
    """What a Secret block holds: a text, or an object as JSON. Raises `ConfigurationError`."""
    held = (await _loaded(Secret, name, "there is no Secret block")).get()
    return SecretStr(held if isinstance(held, str) else json.dumps(held))


async def open_output(output: str, bucket: str | Block | None = None) -> Store:
    """The store at an address, or in the bucket of a prefect-aws `S3Bucket` block or of the one of that name.
    Raises `ConfigurationError`."""
    if bucket is None:
        return open_store(output)
    from prefect_aws import S3Bucket  # half a second that only its users pay

    block = bucket
    if isinstance(bucket, str):
        block = await _loaded(S3Bucket, bucket, "there is no S3Bucket block")
    if not isinstance(block, S3Bucket):
        raise ConfigurationError(f"bucket: a {type(block).__name__} is no S3Bucket block")
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
