"""The four providers' credentials as Prefect blocks."""

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
from prefect_imagine.providers.registry import BASE_URLS, Account, key_help, open_client

_HOME = "https://github.com/prefect-imagine/prefect-imagine"
_LOGOS = "https://raw.githubusercontent.com/prefect-imagine/prefect-imagine/main/docs/logos"
_PRICES = "Credits per generation, where they differ from what the provider lists or where it lists none."
_RATE = "Requests to keep below, such as 60/10s, where the provider's answers tell no limit."


def _base_url(provider: str) -> Any:
    """A block keeps the address that holds where it is made: keys for a test must not pay elsewhere."""
    known = BASE_URLS[provider]
    variable = f"{provider.upper()}_BASE_URL"
    return Field(
        default_factory=lambda: os.environ.get(variable, "").strip() or known,
        description=f"Address of the API, path included; by default {variable}, or the provider's own.",
        json_schema_extra={"default": known},
    )


class ProviderCredentials(CredentialsBlock):
    """What the four have in common."""

    provider: ClassVar[str]
    base_url: str = Field(default="", description="Address of the API, path included.")
    prices: PriceList = Field(default_factory=PriceList, description=_PRICES)
    rate: str | None = Field(default=None, description=_RATE)

    @abstractmethod
    def account(self) -> Account:
        """The account that these credentials open."""

    def get_client(self) -> ProviderClient:
        """A client for this account, to be used in one event loop and closed with `aclose()`.

        Raises:
            ConfigurationError: a credential or the address is missing or wrong.
        """
        return open_client(self.account())

    def _account(
        self, key: SecretStr | None, email: str | None = None, password: SecretStr | None = None
    ) -> Account:
        key = key if key is not None and key.get_secret_value().strip() else None
        if key is None and not (email and password and password.get_secret_value()):
            raise ConfigurationError(
                f"{self.provider}: the block holds no key; fill it in, or set {key_help(self.provider)}"
            )
        return Account(
            provider=self.provider,
            key=key,
            email=email,
            password=password,
            base_url=self.base_url,
            prices=self.prices,
            rate=Rate.parse(self.rate) if self.rate else None,
        )


class ImagineLabCredentials(ProviderCredentials):
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


class BlockadeLabsCredentials(ProviderCredentials):
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


class ImagineAPICredentials(ProviderCredentials):
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


class AIVisualStudioCredentials(ProviderCredentials):
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

    def account(self) -> Account:
        """The account that these credentials open."""
        return self._account(self.api_key)


BLOCKS: dict[str, type[ProviderCredentials]] = {
    block.provider: block
    for block in (
        ImagineLabCredentials,
        BlockadeLabsCredentials,
        ImagineAPICredentials,
        AIVisualStudioCredentials,
    )
}
