"""Webhooks: addresses that a provider has been told to send events to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime

import httpx
from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.models import Frozen
from prefect_imagine.providers.names import nearest

EVENTS = ("generation.completed", "generation.failed")
"""What a webhook can be told of."""


class Webhook(Frozen):
    """An address that a provider sends events to.

    Attributes:
        provider: its name.
        id: the provider's id of it.
        url: the address.
        events: what it is told of.
        active: whether the provider sends anything to it at present.
        secret: what its deliveries are signed with. A provider tells it once, where the webhook is made.
        created_at: when it was made, where the provider says so.
    """

    provider: str
    id: str
    url: str
    events: tuple[str, ...] = EVENTS
    active: bool = True
    secret: SecretStr | None = None
    created_at: datetime | None = None


def checked_url(url: str, base_url: str) -> str:
    """An address that a provider can deliver to: https; or http on loopback, if its API is there as well.

    Raises:
        ConfigurationError: it is none. The message does not show it: its query may be a secret.
    """
    address = _parsed(url)
    if address is None or not address.host:
        raise ConfigurationError("a webhook needs a whole URL, such as https://example.com/webhooks")
    at_home = _is_loopback(address.host) and _is_loopback(httpx.URL(base_url).host)
    if address.scheme != "https" and not (address.scheme == "http" and at_home):
        raise ConfigurationError("a webhook needs an https:// URL: deliveries would be read on their way")
    return url.strip()


def checked_events(events: Sequence[str] | None) -> list[str] | None:
    """Events as they are asked for, each once; `None` stands for all. Raises `ConfigurationError`."""
    if events is None:
        return None
    wanted = [events] if isinstance(events, str) else list(dict.fromkeys(events))
    if not wanted:
        raise ConfigurationError(f"a webhook needs events, of {', '.join(EVENTS)}; None stands for all")
    for event in wanted:
        if event not in EVENTS:
            raise ConfigurationError(f"there is no event {event!r}; {nearest(str(event), EVENTS)}")
    return wanted


def same_url(one: str, other: str) -> bool:
    """Whether two ways to write a URL name the same place."""
    first, second = _parsed(one), _parsed(other)
    return first is not None and second is not None and _plain(first) == _plain(second)


def _plain(url: httpx.URL) -> str:
    return str(url).rstrip("/")


def _parsed(url: str) -> httpx.URL | None:
    try:
        return httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError):  # the latter for half a surrogate pair
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
