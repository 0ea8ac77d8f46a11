"""What the rest of the package knows of a provider, and of an account there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError, ProviderError
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.models import Capabilities
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.transport.auth import Auth, HeaderAuth, NoAuth, fits_header
from prefect_imagine.providers.transport.connections import Timeouts
from prefect_imagine.providers.transport.failures import OF_ITSELF, ErrorDetail, ErrorReader
from prefect_imagine.providers.transport.http import Api
from prefect_imagine.providers.webhook_scheme import WebhookScheme


class ClientClass(Protocol):
    """Makes a provider's client, and says what it can do."""

    capabilities: Capabilities

    def __call__(self, api: Api) -> ProviderClient:
        """A client that sends its requests through this `Api`."""


def no_error_shape(status: int, body: Any) -> ErrorDetail | None:
    """For APIs whose error bodies have no shape of their own: they are read as those of web frameworks."""
    return None


def key_in_header(account: Account) -> Auth:
    """The account's key as a bearer token; nothing for a provider that takes no key."""
    if account.spec.key_variable is None:
        return NoAuth()
    return HeaderAuth(account.checked_key())


@dataclass(frozen=True)
class ProviderSpec:
    """A provider: all that binds the package to it.

    Attributes:
        name: as prompts files, options and the command line write it.
        title: as people write it.
        base_url: of its API, path included; empty where everybody runs a server of their own, whose address
            is then `<NAME>_BASE_URL`.
        client: makes its client.
        key_variable: the environment variable that holds a key; `None` where the API takes none.
        login_variables: those that hold an email and a password instead, where the API has a login.
        auth: gives requests an account's credentials.
        read_error: what is particular about its error bodies.
        codes: the errors that its documented error codes stand for.
        at_capacity: statuses by which it refuses a create only because too many jobs are under way: from 400
            to 499, and none that means the key, the credits, the rate or a wrong address.
        create_seconds: the longest that a create may take to be answered. Only where nothing finds a job
            whose create was not answered may it be longer than 50 s: else a proof of absence comes too early.
        webhooks: how it delivers the ends of jobs, if it does.
        records: what the API calls an account's jobs, where `history` walks a list of them all.
        indicative_prices: what its pages say that generations cost, where its API does not.
    """

    name: str
    title: str
    base_url: str
    client: ClientClass
    key_variable: str | None
    login_variables: tuple[str, str] | None = None
    auth: Callable[[Account], Auth] = key_in_header
    read_error: ErrorReader = no_error_shape
    codes: Mapping[str, type[ProviderError]] = field(default_factory=dict)
    at_capacity: frozenset[int] = frozenset()
    create_seconds: float | None = None
    webhooks: WebhookScheme | None = None
    records: str | None = None
    indicative_prices: PriceList | None = None

    def __post_init__(self) -> None:
        wrong = [each for each in self._mistakes() if each]
        if wrong:
            raise ConfigurationError(f"the specification of {self.name!r} cannot be used: {'; '.join(wrong)}")

    def _mistakes(self) -> Iterator[str | None]:
        if not set(self.at_capacity) <= set(range(400, 500)) - OF_ITSELF:
            yield "at_capacity holds what is no status, or one that means something else"
        longest = Timeouts().create if self.capabilities.history else math.inf
        if self.create_seconds is not None and not 0 < float(self.create_seconds) <= longest:
            yield f"create_seconds is above 0, and at most {longest:g} for a provider with a history"
        if self.key_variable == "" or (self.login_variables and len(self.login_variables) != 2):
            yield "key_variable is a name or None, login_variables are two names or None"
        if not self.capabilities.kinds:
            yield "its client makes no kind"
        if not all(
            isinstance(each, type) and issubclass(each, ProviderError) for each in self.codes.values()
        ):
            yield "codes stand for ProviderErrors"

    @property
    def capabilities(self) -> Capabilities:
        """Which calls it has."""
        return self.client.capabilities

    @property
    def base_url_variable(self) -> str:
        """The environment variable that holds another address."""
        return f"{self.name.upper().replace('-', '_')}_BASE_URL"

    @property
    def webhook_secret_variable(self) -> str:
        """The environment variable that holds the secrets of its webhooks, separated by commas."""
        return f"{self.name.upper().replace('-', '_')}_WEBHOOK_SECRET"

    @property
    def credentials_help(self) -> str:
        """The environment variables that hold its credentials, in words."""
        login = " and ".join(self.login_variables or ())
        return ", or ".join(filter(None, (login, self.key_variable))) or "nothing: it takes no key"


@dataclass(frozen=True)
class Account:
    """How to reach one account of one provider.

    Attributes:
        key: the API key or token; `None` where email and password are used.
        base_url: the address where it is another than the provider's own.
        prices: the user's own price list; beats what the provider lists.
        rate: a rate to keep where the provider's headers name none.
    """

    spec: ProviderSpec
    key: SecretStr | None = None
    email: str | None = None
    password: SecretStr | None = None
    base_url: str = ""
    prices: PriceList = field(default_factory=PriceList)
    rate: Rate | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.spec.name

    @property
    def address(self) -> str:
        """The base URL, the provider's own where no other was given."""
        return self.base_url or self.spec.base_url

    @property
    def identity(self) -> str:
        """A name for this key's rate limit that does not give the key away."""
        secret = self.key.get_secret_value().strip() if self.key else f"{self.email}"
        hashed = hashlib.sha256(f"prefect-imagine:{self.address}:{secret}".encode()).hexdigest()
        return f"{self.provider}-{hashed[:16]}"

    def checked_key(self) -> SecretStr:
        """The key, if there is one and a header can hold it. Raises `ConfigurationError`, which does not
        show it."""
        key = self.key.get_secret_value().strip() if self.key is not None else ""
        if not key:
            raise ConfigurationError(f"{self.provider}: no key; set {self.spec.credentials_help}")
        if not fits_header(key):
            raise ConfigurationError(
                f"{self.provider}: the key has characters that no key has, such as a space or a line break; "
                "set it again"
            )
        return SecretStr(key)
