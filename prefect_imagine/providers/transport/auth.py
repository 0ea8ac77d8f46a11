"""How a request gets its credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr


def fits_header(secret: str) -> bool:
    """Whether a header can hold this key or token: visible ASCII, and something."""
    return bool(secret) and all("!" <= sign <= "~" for sign in secret)


class Auth(Protocol):
    """Gives a request its credentials."""

    async def headers(self) -> dict[str, str]:
        """The headers to send."""

    async def renew(self, used: Mapping[str, str]) -> bool:
        """After a 401 to these headers: whether there are other ones now."""

    def secrets(self) -> list[str]:
        """What must never be printed."""


class HeaderAuth:
    """A key that goes into one header and never changes."""

    def __init__(self, secret: SecretStr, *, header: str = "Authorization", scheme: str = "Bearer ") -> None:
        self._secret = secret
        self._header = header
        self._scheme = scheme

    async def headers(self) -> dict[str, str]:
        """The header with the key."""
        return {self._header: f"{self._scheme}{self._secret.get_secret_value()}"}

    async def renew(self, used: Mapping[str, str]) -> bool:
        """A key that is refused stays refused."""
        return False

    def secrets(self) -> list[str]:
        """The key."""
        return [self._secret.get_secret_value()]


class NoAuth:
    """For an API that takes no key."""

    async def headers(self) -> dict[str, str]:
        """None."""
        return {}

    async def renew(self, used: Mapping[str, str]) -> bool:
        """There is nothing to renew."""
        return False

    def secrets(self) -> list[str]:
        """None."""
        return []
