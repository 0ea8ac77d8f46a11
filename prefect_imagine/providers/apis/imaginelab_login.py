"""Logging in to ImagineLab with email and password (page: Authentication)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pydantic import SecretStr

from prefect_imagine.errors import AuthenticationError, InvalidRequestError, UnexpectedResponseError
from prefect_imagine.providers.transport.auth import fits_header
from prefect_imagine.providers.transport.http import Api

PROVIDER = "imaginelab"


class LoginAuth:
    """A bearer token from `POST /auth/login`, taken when first needed and again when it has expired."""

    def __init__(self, email: str, password: SecretStr) -> None:
        self._email = email
        self._password = password
        self._token: str | None = None
        self._login = asyncio.Lock()
        self.api: Api | None = None

    async def headers(self) -> dict[str, str]:
        """The header with the present token."""
        async with self._login:
            if self._token is None:
                self._token = await self._new_token()
            return {"Authorization": f"Bearer {self._token}"}

    async def renew(self, used: Mapping[str, str]) -> bool:
        """Drop a refused token. All who were refused with it share the next login."""
        async with self._login:
            if used.get("Authorization") == f"Bearer {self._token}":
                self._token = None
            return True

    def secrets(self) -> list[str]:
        """The password and the token."""
        return [self._password.get_secret_value(), self._token or ""]

    async def _new_token(self) -> str:
        assert self.api is not None, "the client hands its Api to its login"
        form = {"username": self._email, "password": self._password.get_secret_value()}
        try:
            body = await self.api.read(
                "POST", "/auth/login", purpose="other", form=form, attempts=2, authenticated=False
            )
        except (InvalidRequestError, AuthenticationError) as error:
            raise AuthenticationError(
                f"{PROVIDER}: the login was refused; check email and password",
                provider=PROVIDER,
                status_code=error.status_code,
            ) from error
        token = str(body.get("access_token") or "").strip() if isinstance(body, dict) else ""
        if not fits_header(token):
            raise UnexpectedResponseError(f"{PROVIDER}: the login gave no token", provider=PROVIDER)
        return token
