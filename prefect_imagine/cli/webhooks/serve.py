"""`webhooks serve` and `webhooks url`: where deliveries come in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter
from pydantic import SecretStr

from prefect_imagine.batches.capability import (
    SECRET_VARIABLE,
    URL_VARIABLE,
    webhook_address,
    webhook_secret,
)
from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Credentials, Json, Output, value
from prefect_imagine.cli.server import prepare_prefect
from prefect_imagine.cli.webhooks.listening import serve_app
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.registry import all_specs, spec_of
from prefect_imagine.providers.signatures import split_secrets
from prefect_imagine.stores import Store, open_store
from prefect_imagine.webhooks import Ended

COLLECT = "collect/collect"
MOST_CONNECTIONS = 256


def serve(
    *,
    port: Annotated[int, value(values.port, "PORT")] = 8787,
    host: Annotated[str, Parameter(metavar="ADDRESS")] = "127.0.0.1",
    under: Output = DEFAULT_OUTPUT,
    credentials: Credentials = (),
    wake: Annotated[str, Parameter(metavar="FLOW/DEPLOYMENT")] = COLLECT,
) -> int:
    """Take in what providers deliver, and have it collected.

    Args:
        port: where to listen; 0 takes a free one.
        host: the address to listen on; put a proxy with TLS in front.
        wake: the deployment of collect, where PREFECT_API_URL names a server; none for no runs.
    """
    secrets = asyncio.run(_signing_secrets(dict(credentials)))
    capability_secret = webhook_secret()
    if not secrets and capability_secret is None:
        names = ", ".join(each.webhook_secret_variable for each in all_specs() if _is_signed(each.name))
        raise ConfigurationError(f"nobody could deliver: set {names} or {SECRET_VARIABLE}")
    with closing(open_store(absolute(under))) as store:
        asyncio.run(_serve(store, secrets, capability_secret, host, port, wake))
    return 0


def url(
    provider: Annotated[str, value(values.provider)],
    batch: str | None = None,
    /,
    *,
    base: Annotated[str | None, value(values.web_address, "URL")] = None,
    credentials: Credentials = (),
    json: Json = False,
) -> int:
    """The address that a provider delivers to: keep it as secret as a key.

    Args:
        provider: whose deliveries.
        batch: the id of the only batch it is good for; without one, for all of the account's.
        base: where the receiver can be reached; by default PREFECT_IMAGINE_WEBHOOK_URL.
    """
    root = base or os.environ.get(URL_VARIABLE, "").strip()
    if not root:
        raise ConfigurationError(f"where can the receiver be reached? Give --base, or set {URL_VARIABLE}")
    scheme = spec_of(provider).webhooks
    if scheme is None:
        raise ConfigurationError(f"{provider} delivers nothing")
    identity = ""
    if not scheme.signed:
        identity = asyncio.run(_identity(provider, dict(credentials)))
    batch_id = check_batch_id(batch) if batch is not None else ""
    secret = None if scheme.signed else webhook_secret()
    address = webhook_address(root, provider, identity, batch_id, secret, signed=scheme.signed)
    if json:
        output.print_json({"provider": provider, "url": address, "error": None})
    else:
        print(address)
    return 0


async def _identity(provider: str, credentials: Mapping[str, str]) -> str:
    return (await accounts_for(credentials)([provider]))[provider].identity


def _is_signed(provider: str) -> bool:
    scheme = spec_of(provider).webhooks
    return scheme is not None and scheme.signed


async def _signing_secrets(credentials: Mapping[str, str]) -> dict[str, Sequence[SecretStr]]:
    """By provider, from the blocks that are named, and from the environment for others."""
    found: dict[str, Sequence[SecretStr]] = {}
    for spec in all_specs():
        if not _is_signed(spec.name):
            continue
        secrets = split_secrets(os.environ.get(spec.webhook_secret_variable))
        if spec.name in credentials:
            prepare_prefect()
            from prefect_imagine.tasks.accounts import webhook_secrets

            secrets = await webhook_secrets(spec.name, credentials[spec.name])
        if secrets:
            found[spec.name] = secrets
    return found


async def _serve(
    store: Store,
    secrets: Mapping[str, Sequence[SecretStr]],
    capability_secret: SecretStr | None,
    host: str,
    port: int,
    wake: str,
) -> None:
    from prefect_imagine.webhooks import Receiver, webhook_app

    receiver = Receiver(
        store,
        signing_secrets=secrets,
        capability_secret=capability_secret,
        on_ended=_wakes(store, wake),
    )

    def said(address: str) -> str:
        return f"webhooks are taken in at {address}, for batches under {store.address}"

    await serve_app(webhook_app(receiver), host, port, said, most_connections=MOST_CONNECTIONS)


def _wakes(store: Store, wake: str) -> Callable[[Ended], Awaitable[None]] | None:
    """What is done about ends of jobs; nothing without a Prefect server."""
    prepare_prefect()
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        output.say("no Prefect server: collect is not woken (set PREFECT_API_URL)")
        return None
    from prefect_imagine.flows.wake import CollectSoon

    return CollectSoon(store, None if wake == "none" else wake)
