"""All providers by name: built-in ones, those of installed plug-ins, and what a script registers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.apis import aivisualstudio, blockadelabs, imagineapi, imaginelab
from prefect_imagine.providers.limits.pace_store import machine_pace_store
from prefect_imagine.providers.limits.pacing import Pacer, SharedLimit
from prefect_imagine.providers.models import Capabilities
from prefect_imagine.providers.names import nearest
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.spec import Account, ProviderSpec
from prefect_imagine.providers.transport.http import Api

logger = logging.getLogger(__name__)

ENTRY_POINTS = "prefect_imagine.providers"
BUILT_IN = (imaginelab.SPEC, blockadelabs.SPEC, imagineapi.SPEC, aivisualstudio.SPEC)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_registered: dict[str, ProviderSpec] = {spec.name: spec for spec in BUILT_IN}


def register(spec: ProviderSpec) -> None:
    """Make a provider known to this process, by its name.

    Raises:
        ConfigurationError: the name cannot be one, or is another provider's.
    """
    _load_plug_ins()  # first come, first served: what is installed comes before a script
    _add(spec)


def _add(spec: ProviderSpec) -> None:
    if not _NAME.fullmatch(spec.name):
        raise ConfigurationError(
            f"{spec.name!r} cannot be a provider's name: it is lower-case letters, digits, '-' and '_'"
        )
    if _registered.get(spec.name, spec) != spec:
        raise ConfigurationError(f"there is a provider {spec.name!r} already")
    _registered[spec.name] = spec


def unregister(name: str) -> None:
    """Forget a provider that `register` has made known."""
    _registered.pop(name, None)


def provider_names() -> tuple[str, ...]:
    """The names of all providers: the built-in ones first."""
    _load_plug_ins()
    return tuple(_registered)


def all_specs() -> tuple[ProviderSpec, ...]:
    """All providers, in the order of their names."""
    _load_plug_ins()
    return tuple(_registered.values())


def spec_of(name: str, offered: Iterable[str] | None = None) -> ProviderSpec:
    """A provider by its name.

    Raises:
        ConfigurationError: there is none; the message has the names that come closest, of those `offered`.
    """
    if name not in _registered:
        _load_plug_ins()
    if name not in _registered:
        raise ConfigurationError(f"there is no provider {name!r}; {nearest(name, offered or _registered)}")
    return _registered[name]


def providers_with(able: Callable[[Capabilities], bool]) -> tuple[str, ...]:
    """The names of the providers whose capabilities are such."""
    return tuple(spec.name for spec in all_specs() if able(spec.capabilities))


def check_providers(names: Iterable[str], what: str) -> None:
    """Check the keys of a mapping by provider: a misspelt one would lift a limit, or pay with another key.

    Raises:
        ConfigurationError: one is no provider; the message says which it may be meant for.
    """
    for name in names:
        try:
            spec_of(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"{what}: {error}") from error


def account_from_environment(provider: str, environment: Mapping[str, str] = os.environ) -> Account:
    """The account that the environment's variables name. Raises `ConfigurationError`, naming what to set."""
    spec = spec_of(provider)
    key = environment.get(spec.key_variable or "", "").strip()
    email, password = (environment.get(name, "") for name in spec.login_variables or ("", ""))
    base_url = environment.get(spec.base_url_variable, "").strip()
    if spec.key_variable is not None and not key and not (email.strip() and password):
        raise ConfigurationError(f"{provider}: no key; set {spec.credentials_help}")
    if not (base_url or spec.base_url):
        raise ConfigurationError(f"{provider}: no address; set {spec.base_url_variable}")
    return Account(
        spec,
        key=SecretStr(key) if key else None,
        email=email.strip() or None,
        password=SecretStr(password) if password else None,
        base_url=base_url,
    )


def open_client(
    account: Account, *, shared: SharedLimit | None = None, pacer: Pacer | None = None
) -> ProviderClient:
    """A client for an account. Raises `ConfigurationError` for a key or an address that is none."""
    if account.spec.create_seconds is not None:
        account = replace(account, timeouts=replace(account.timeouts, create=account.spec.create_seconds))
    pacer = pacer or Pacer(machine_pace_store(account.identity), rate=account.rate, shared=shared)
    api = Api(
        provider=account.provider,
        base_url=account.address,
        auth=account.spec.auth(account),
        read_error=account.spec.read_error,
        codes=account.spec.codes,
        pacer=pacer,
        timeouts=account.timeouts,
        at_capacity=account.spec.at_capacity,
    )
    return account.spec.client(api)


@cache
def _load_plug_ins() -> None:
    for entry_point in entry_points(group=ENTRY_POINTS):
        _load(entry_point)


def _load(entry_point: EntryPoint) -> None:
    """One plug-in. Whatever is wrong with it harms no other provider."""
    try:
        spec = entry_point.load()
        if not isinstance(spec, ProviderSpec):
            raise ConfigurationError(f"{entry_point.value} is a {type(spec).__name__} and no ProviderSpec")
        _add(spec)
    except (Exception, SystemExit) as error:
        logger.warning(
            "the provider plug-in %r (%s) cannot be used: %s: %s",
            entry_point.name,
            entry_point.value,
            type(error).__name__,
            error,
        )
