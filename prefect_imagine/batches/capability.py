"""Addresses that only we can have given to a provider: where deliveries come in that nobody signs.

The last part of such an address names account and batch, and proves with an HMAC-SHA256 over both that it was
made with our secret.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping

from pydantic import SecretStr

from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.errors import ConfigurationError

SECRET_VARIABLE = "PREFECT_IMAGINE_WEBHOOK_SECRET"
"""The secret that capabilities are made with, 16 characters or more: alike for the receiver of webhooks and
all who create."""
URL_VARIABLE = "PREFECT_IMAGINE_WEBHOOK_URL"
"""The public address of the receiver of webhooks, where neither `--webhook-url` nor `options.webhook_url`
gives one."""
SHORTEST_SECRET = 16
_ACCOUNT_LENGTH = 16
_MAC_LENGTH = 32


def webhook_secret(environment: Mapping[str, str] = os.environ) -> SecretStr | None:
    """The secret that capabilities are made with, if there is one. Raises `ConfigurationError` for one that
    can be guessed."""
    secret = environment.get(SECRET_VARIABLE, "").strip()
    if secret and len(secret) < SHORTEST_SECRET:
        raise ConfigurationError(f"{SECRET_VARIABLE} is shorter than {SHORTEST_SECRET} characters")
    return SecretStr(secret) if secret else None


def make_capability(secret: SecretStr, identity: str, batch_id: str = "") -> str:
    """The capability of an account for one batch, or for all of its batches.

    Args:
        identity: the account's, with its provider: `Account.identity`.
    """
    provider, _, account = identity.rpartition("-")
    return ".".join(filter(None, (account, _mac(secret, provider, account, batch_id), batch_id)))


def read_capability(secret: SecretStr, provider: str, capability: str) -> str | None:
    """The batch that a capability is for, empty for all of the account's; `None` for a forged one."""
    account, _, rest = capability.partition(".")
    mac, _, batch_id = rest.partition(".")
    if not (len(account) == _ACCOUNT_LENGTH and account.isalnum() and len(mac) == _MAC_LENGTH):
        return None
    try:
        genuine = hmac.compare_digest(mac, _mac(secret, provider, account, batch_id))
        return (check_batch_id(batch_id) if batch_id else "") if genuine else None
    except (ConfigurationError, TypeError):
        return None


def _mac(secret: SecretStr, provider: str, account: str, batch_id: str) -> str:
    said = "\n".join((provider, account, batch_id))
    return hmac.new(secret.get_secret_value().encode(), said.encode(), hashlib.sha256).hexdigest()[
        :_MAC_LENGTH
    ]


def webhook_address(
    base: str, provider: str, identity: str, batch_id: str, secret: SecretStr | None, *, signed: bool
) -> str:
    """Where a provider is asked to deliver the ends of a batch's jobs.

    Args:
        base: of the receiver, as providers reach it.
        signed: whether its deliveries are signed, so that the address need not be secret.

    Raises:
        ConfigurationError: a capability is needed, and there is no secret to make it with.
    """
    root = base.rstrip("/")
    if secret is not None:
        return f"{root}/{provider}/{make_capability(secret, identity, batch_id)}"
    if signed:
        return f"{root}/{provider}"
    raise ConfigurationError(
        f"{provider} signs no deliveries: set {SECRET_VARIABLE}, or give no webhook address"
    )
