"""Credentials as Prefect blocks: one for each built-in provider, and one for those of plug-ins."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, ClassVar

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, HttpUrl, SecretStr

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client, spec_of
from prefect_imagine.providers.spec import Account

_HOME = "https://github.com/prefect-imagine/prefect-imagine"
_LOGOS = "https://raw.githubusercontent.com/prefect-imagine/prefect-imagine/main/docs/logos"
_PRICES = "Credits per generation, where they differ from what the provider lists or where it lists none."
_RATE = "Requests to keep below, such as 60/10s, where the provider's answers name no limit."


def _base_url(provider: str) -> Any:
    """A block keeps the address that holds where it is made: keys for a test must not pay elsewhere."""
    known = spec_of(provider).base_url
    variable = spec_of(provider).base_url_variable
    return Field(
        default_factory=lambda: os.environ.get(variable, "").strip() or known,
        description=f"Address of the API, path included; by default {variable}, or the provider's own.",
        json_schema_extra={"default": known},
    )


class BaseCredentials(CredentialsBlock):
    """What all have in common."""

    base_url: str = Field(default="", description="Address of the API, path included.")
    prices: PriceList = Field(default_factory=PriceList, description=_PRICES)
    rate: str | None = Field(default=None, description=_RATE)

    @abstractmethod
    def account(self) -> Account:
        """The account that these credentials open. Raises `ConfigurationError` where one is missing."""

    @property
    @abstractmethod
    def provider_name(self) -> str:
        """Whose credentials they are."""

    def get_client(self) -> ProviderClient:
        """A client for this account, to be used in one event loop and closed with `aclose()`.

        Raises:
            ConfigurationError: a credential or the address is missing or wrong.
        """
        return open_client(self.account())

    def _account(
        self, key: SecretStr | None, email: str | None = None, password: SecretStr | None = None
    ) -> Account:
        spec = spec_of(self.provider_name)
        key = key if key is not None and key.get_secret_value().strip() else None
        complete = key or (email and password and password.get_secret_value())
        if spec.key_variable is not None and not complete:
            raise ConfigurationError(
                f"{spec.name}: the block holds no key; fill it in, or set {spec.credentials_help}"
            )
        return Account(
            spec,
            key=key,
            email=email,
            password=password,
            base_url=self.base_url,
            prices=self.prices,
            rate=Rate.parse(self.rate) if self.rate else None,
        )


class BuiltInCredentials(BaseCredentials):
    """Credentials of one provider, which the block's type says."""

    provider: ClassVar[str]

    @property
    def provider_name(self) -> str:
        """Whose credentials they are."""
        return self.provider


class ProviderCredentials(BaseCredentials):
    """
    Credentials for a provider of a plug-in.

    Example:
        Load stored credentials:
        ```python
        from prefect_imagine.blocks import ProviderCredentials

        credentials = ProviderCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "Imagine Provider Credentials"
    _block_type_slug = "imagine-provider-credentials"
    _logo_url = HttpUrl(f"{_LOGOS}/prefect-imagine.png")
    _documentation_url = HttpUrl(f"{_HOME}#credentials")

    provider: str = Field(description="Name of the provider, as its plug-in has it.")
    api_key: SecretStr | None = Field(default=None, description="API key, where the provider takes one.")

    @property
    def provider_name(self) -> str:
        """Whose credentials they are."""
        return self.provider

    def account(self) -> Account:
        """The account that these credentials open."""
        return self._account(self.api_key)


class ImagineLabCredentials(BuiltInCredentials):
    """
    Credentials for ImagineLab: images, videos, voices, music, infographics and texts.

    Either an API key, or the email and password of an account.

    Example:
        Load stored credentials and ask for the balance:
        ```python
        from prefect_imagine.blocks import ImagineLabCredentials

        credentials = ImagineLabCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "ImagineLab Credentials"
    _block_type_slug = "imaginelab-credentials"
    _logo_url = HttpUrl(f"{_LOGOS}/imaginelab.png")
    _documentation_url = HttpUrl(f"{_HOME}#credentials")
    provider: ClassVar[str] = "imaginelab"

    base_url: str = _base_url("imaginelab")
    api_key: SecretStr | None = Field(default=None, description="API key, where the plan has one.")
    email: str | None = Field(default=None, description="Email of the account, to log in with.")
    password: SecretStr | None = Field(default=None, description="Password of the account.")

    def account(self) -> Account:
        """The account that these credentials open."""
        return self._account(self.api_key, self.email, self.password)


class BlockadeLabsCredentials(BuiltInCredentials):
    """
    Credentials for Blockade Labs: skyboxes and other images by generators.

    Example:
        Load stored credentials:
        ```python
        from prefect_imagine.blocks import BlockadeLabsCredentials

        credentials = BlockadeLabsCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "Blockade Labs Credentials"
    _block_type_slug = "blockade-labs-credentials"
    _logo_url = HttpUrl(f"{_LOGOS}/blockadelabs.png")
    _documentation_url = HttpUrl(f"{_HOME}#credentials")
    provider: ClassVar[str] = "blockadelabs"

    base_url: str = _base_url("blockadelabs")
    api_key: SecretStr = Field(description="API key of the account.")

    def account(self) -> Account:
        """The account that these credentials open."""
        return self._account(self.api_key)


class ImagineAPICredentials(BuiltInCredentials):
    """
    Credentials for ImagineAPI: Midjourney images, by the hosted service or one's own.

    Example:
        Load stored credentials:
        ```python
        from prefect_imagine.blocks import ImagineAPICredentials

        credentials = ImagineAPICredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "ImagineAPI Credentials"
    _block_type_slug = "imagineapi-credentials"
    _logo_url = HttpUrl(f"{_LOGOS}/imagineapi.png")
    _documentation_url = HttpUrl(f"{_HOME}#credentials")
    provider: ClassVar[str] = "imagineapi"

    base_url: str = _base_url("imagineapi")
    token: SecretStr = Field(description="Token of the user, from the admin pages.")

    def account(self) -> Account:
        """The account that these credentials open."""
        return self._account(self.token)


class AIVisualStudioCredentials(BuiltInCredentials):
    """
    Credentials for AI Visual Studio: images and videos.

    Example:
        Load stored credentials:
        ```python
        from prefect_imagine.blocks import AIVisualStudioCredentials

        credentials = AIVisualStudioCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "AI Visual Studio Credentials"
    _block_type_slug = "ai-visual-studio-credentials"
    _logo_url = HttpUrl(f"{_LOGOS}/aivisualstudio.png")
    _documentation_url = HttpUrl(f"{_HOME}#credentials")
    provider: ClassVar[str] = "aivisualstudio"

    base_url: str = _base_url("aivisualstudio")
    api_key: SecretStr = Field(description="API key, with the scopes of what it is to generate.")
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Secret of the webhook, shown once when it is registered; several, of several webhooks "
        "or while one is rotated, are separated by commas.",
    )

    def account(self) -> Account:
        """The account that these credentials open."""
        return self._account(self.api_key)


BLOCKS: dict[str, type[BuiltInCredentials]] = {
    block.provider: block
    for block in (
        ImagineLabCredentials,
        BlockadeLabsCredentials,
        ImagineAPICredentials,
        AIVisualStudioCredentials,
    )
}
