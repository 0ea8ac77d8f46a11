"""The four providers by name: their clients, addresses and environment variables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.apis import aivisualstudio, blockadelabs, imagineapi, imaginelab
from prefect_imagine.providers.apis.imaginelab import LoginAuth
from prefect_imagine.providers.base import nearest
from prefect_imagine.providers.limits.pacing import Pacer, SharedLimit, machine_pace_store
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.transport.auth import Auth, HeaderAuth, fits_header
from prefect_imagine.providers.transport.connections import Timeouts
from prefect_imagine.providers.transport.http import Api

BASE_URLS = {
    "imaginelab": "https://api.imagineview.art/api/v1",
    "blockadelabs": "https://backend.blockadelabs.com/api/v1",
    "imagineapi": "https://cl.imagineapi.dev",
    "aivisualstudio": "https://aivisualstudio.co/api/v1",
}
PROVIDERS = tuple(BASE_URLS)
INDICATIVE_PRICES = {"imaginelab": imaginelab.INDICATIVE_PRICES}
_KEYS = {
    "imaginelab": "IMAGINELAB_TOKEN",
    "blockadelabs": "BLOCKADELABS_API_KEY",
    "imagineapi": "IMAGINEAPI_TOKEN",
    "aivisualstudio": "AIVISUALSTUDIO_API_KEY",
}


@dataclass(frozen=True)
class Account:
    """How to reach one account of one provider.

    Attributes:
        key: the API key or token; `None` where email and password are used.
        prices: the user's own price list; beats what the provider lists.
        rate: a rate to keep where the provider's headers tell none.
    """

    provider: str
    key: SecretStr | None = None
    email: str | None = None
    password: SecretStr | None = None
    base_url: str = ""
    prices: PriceList = field(default_factory=PriceList)
    rate: Rate | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def address(self) -> str:
        """The base URL, the provider's own where none was given."""
        return self.base_url or BASE_URLS[self.provider]

    @property
    def identity(self) -> str:
        """A name for this key's rate limit that does not give the key away."""
        secret = self.key.get_secret_value().strip() if self.key else f"{self.email}"
        hashed = hashlib.sha256(f"prefect-imagine:{self.address}:{secret}".encode()).hexdigest()
        return f"{self.provider}-{hashed[:16]}"


def account_from_environment(provider: str, environment: Mapping[str, str] = os.environ) -> Account:
    """The account that the environment's variables name. Raises `ConfigurationError`, naming what to set."""
    prefix = provider.upper()
    key = environment.get(_KEYS[provider], "").strip()
    email = environment.get(f"{prefix}_EMAIL", "").strip() if provider == "imaginelab" else ""
    password = environment.get(f"{prefix}_PASSWORD", "") if provider == "imaginelab" else ""
    base_url = environment.get(f"{prefix}_BASE_URL", "").strip()
    if not key and not (email and password):
        raise ConfigurationError(f"{provider}: no key; set {key_help(provider)}")
    return Account(
        provider=provider,
        key=SecretStr(key) if key else None,
        email=email or None,
        password=SecretStr(password) if password else None,
        base_url=base_url,
    )


def check_providers(names: Iterable[str], what: str) -> None:
    """Check the keys of a mapping by provider: a misspelt one would lift a limit, or pay with another key.

    Raises:
        ConfigurationError: one is no provider; the message says which it may be meant for.
    """
    for name in names:
        if name not in PROVIDERS:
            raise ConfigurationError(f"{what}: there is no provider {name!r}; {nearest(name, PROVIDERS)}")


def key_help(provider: str) -> str:
    """The variables that hold a provider's credentials."""
    if provider == "imaginelab":
        return "IMAGINELAB_EMAIL and IMAGINELAB_PASSWORD, or IMAGINELAB_TOKEN"
    return _KEYS[provider]


def open_client(
    account: Account, *, shared: SharedLimit | None = None, pacer: Pacer | None = None
) -> ProviderClient:
    """A client for an account. Raises `ConfigurationError` for an address that is none."""
    pacer = pacer or Pacer(machine_pace_store(account.identity), rate=account.rate, shared=shared)
    module = {
        "imaginelab": imaginelab,
        "blockadelabs": blockadelabs,
        "imagineapi": imagineapi,
        "aivisualstudio": aivisualstudio,
    }[account.provider]
    api = Api(
        provider=account.provider,
        base_url=account.address,
        auth=_auth(account),
        read_error=module.read_error,
        codes=module.CODES,
        pacer=pacer,
        timeouts=account.timeouts,
    )
    return CLIENTS[account.provider](api)


Client = (
    imaginelab.ImagineLabClient
    | blockadelabs.BlockadeLabsClient
    | imagineapi.ImagineAPIClient
    | aivisualstudio.AIVisualStudioClient
)
CLIENTS: dict[str, type[Client]] = {
    "imaginelab": imaginelab.ImagineLabClient,
    "blockadelabs": blockadelabs.BlockadeLabsClient,
    "imagineapi": imagineapi.ImagineAPIClient,
    "aivisualstudio": aivisualstudio.AIVisualStudioClient,
}


def providers_with(call: str) -> tuple[str, ...]:
    """The providers that have a call, by its name among the capabilities."""
    return tuple(name for name, client in CLIENTS.items() if getattr(client.capabilities, call))


def _auth(account: Account) -> Auth:
    if account.key is not None:
        key = SecretStr(_checked(account.provider, account.key.get_secret_value().strip()))
        blockade = account.provider == "blockadelabs"
        return HeaderAuth(key, header="x-api-key", scheme="") if blockade else HeaderAuth(key)
    if account.email is None or account.password is None:
        raise ConfigurationError(f"{account.provider}: no key; set {key_help(account.provider)}")
    return LoginAuth(account.email, account.password)


def _checked(provider: str, key: str) -> str:
    """The key, if a header can hold it. Raises `ConfigurationError`, which does not show it."""
    if not fits_header(key):
        raise ConfigurationError(
            f"{provider}: the key has characters that no key has, such as a space or a line break; "
            "set it again"
        )
    return key
