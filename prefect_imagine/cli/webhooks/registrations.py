"""`webhooks register`, `list`, `update` and `remove`: what is registered at a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import SecretStr

from prefect_imagine.cli import output
from prefect_imagine.cli.blocks import open_account
from prefect_imagine.cli.options import Credentials, Json, alternatives, provider_with, values_of
from prefect_imagine.cli.values import one_of
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.apis.aivisualstudio import PROVIDER
from prefect_imagine.providers.registry import spec_of
from prefect_imagine.providers.webhooks import EVENTS, Webhook
from prefect_imagine.redaction import printable
from prefect_imagine.reports.summary import INFRASTRUCTURE

Provider = Annotated[str, provider_with(lambda able: able.webhooks, "have webhooks"), Parameter(metavar="P")]
Events = Annotated[
    tuple[str, ...],
    values_of(one_of("event", EVENTS), "EVENT"),
    Parameter(name="--event", help=f"may be repeated: {', '.join(EVENTS)}"),
]
Id = Annotated[str, Parameter(help="of the webhook, as `webhooks list` shows it")]
ACTIVITY = alternatives()


def register(
    url: Annotated[str, Parameter(help="https address that events are sent to")],
    /,
    *,
    event: Events = (),
    provider: Provider = PROVIDER,
    credentials: Credentials = (),
    save: bool = False,
    json: Json = False,
) -> int:
    """Have a provider send events to an address; shows the secret that they are signed with, once.

    Args:
        save: keep the secret in the block that --credentials names, and do not show it.
    """
    return asyncio.run(_register(url, event or None, provider, dict(credentials), save=save, json=json))


def list_(*, provider: Provider = PROVIDER, credentials: Credentials = (), json: Json = False) -> int:
    """What is registered, without the secrets."""
    return asyncio.run(_list(provider, dict(credentials), json=json))


def update(
    id: Id,
    /,
    *,
    url: Annotated[str | None, Parameter(metavar="URL", help="https address that events are sent to")] = None,
    event: Events = (),
    active: Annotated[bool, Parameter(group=ACTIVITY, help="send events again")] = False,
    inactive: Annotated[bool, Parameter(group=ACTIVITY, help="send nothing until it is active")] = False,
    provider: Provider = PROVIDER,
    credentials: Credentials = (),
    json: Json = False,
) -> int:
    """Change what is given of a webhook, and leave the rest."""
    changes = {"url": url, "events": event or None, "active": active if active or inactive else None}
    return asyncio.run(_update(id, changes, provider, dict(credentials), json=json))


def remove(
    id: Id,
    /,
    *,
    provider: Provider = PROVIDER,
    credentials: Credentials = (),
    json: Json = False,
) -> int:
    """Delete a webhook: nothing is sent there any more."""
    return asyncio.run(_remove(id, provider, dict(credentials), json=json))


async def _register(
    url: str,
    events: Sequence[str] | None,
    provider: str,
    credentials: Mapping[str, str],
    *,
    save: bool,
    json: bool,
) -> int:
    name = credentials.get(provider)
    if save and name is None:
        raise ConfigurationError(f"--save needs the block to save in: give --credentials {provider}=BLOCK")
    async with open_account(provider, credentials) as client:
        keeper = await _keeper(provider, name) if save and name is not None else None
        hook = await client.create_webhook(url, events)
    if hook.secret is None:
        return _without_secret(hook, json=json)
    if keeper is None or name is None:
        return _with_secret(hook, hook.secret, json=json)
    try:
        await keeper(hook.secret)
    except BaseException as error:  # it is told once: whatever went wrong with the block, it must not be lost
        _with_secret(hook, hook.secret, json=json, error=f"the secret is not saved in {name}: {error}")
        if isinstance(error, Exception):
            return INFRASTRUCTURE
        raise
    return _saved(hook, name, json=json)


async def _keeper(provider: str, name: str) -> Any:
    """Saves a secret in a credentials block. Raises `ConfigurationError` where that cannot be done."""
    from prefect_imagine.tasks.accounts import webhook_secret_keeper

    return await webhook_secret_keeper(provider, name)


def _with_secret(hook: Webhook, secret: SecretStr, *, json: bool, error: str | None = None) -> int:
    plain = secret.get_secret_value()
    note = (
        f"the secret is shown this once; {spec_of(hook.provider).webhook_secret_variable} takes it: several, "
        "while one is rotated, are separated by commas"
    )
    if json:
        _print_registered(hook, secret=plain, note=note, error=error)
    else:
        print(f"{_told(hook)}\nsecret: {printable(plain)}\n{note}")
    if error is not None:
        output.complain(error)
    return 0


def _saved(hook: Webhook, name: str, *, json: bool) -> int:
    note = f"the secret is saved in the credentials block {name}"
    if json:
        _print_registered(hook, saved_in=name, note=note)
    else:
        print(f"{_told(hook)}\n{note}")
    return 0


def _without_secret(hook: Webhook, *, json: bool) -> int:
    error = (
        f"webhook {hook.id} is registered, but the answer that tells its secret was lost or told none: run "
        f"`prefect-imagine webhooks remove {hook.id}`, and register it again"
    )
    if json:
        _print_registered(hook, error=error)
    output.complain(error)
    return INFRASTRUCTURE


def _print_registered(
    hook: Webhook,
    *,
    secret: str | None = None,
    saved_in: str | None = None,
    note: str | None = None,
    error: str | None = None,
) -> None:
    output.print_json(
        {
            "provider": hook.provider,
            "webhook": _as_json(hook),
            "secret": secret,
            "saved_in": saved_in,
            "note": note,
            "error": error,
        }
    )


async def _list(provider: str, credentials: Mapping[str, str], *, json: bool) -> int:
    async with open_account(provider, credentials) as client:
        found = await client.webhooks()
    if json:
        output.print_json({"provider": provider, "webhooks": list(map(_as_json, found)), "error": None})
    else:
        _show(f"Webhooks of {provider}", found)
    return 0


async def _update(
    webhook: str, changes: dict[str, Any], provider: str, credentials: Mapping[str, str], *, json: bool
) -> int:
    async with open_account(provider, credentials) as client:
        found = await client.update_webhook(webhook, **changes)
    if json:
        output.print_json({"provider": provider, "webhook": _as_json(found), "error": None})
    else:
        _show(f"Changed at {provider}", [found])
    return 0


async def _remove(webhook: str, provider: str, credentials: Mapping[str, str], *, json: bool) -> int:
    async with open_account(provider, credentials) as client:
        await client.delete_webhook(webhook)
    if json:
        output.print_json({"provider": provider, "removed": webhook, "error": None})
    else:
        print(f"webhook {webhook} of {provider} is removed")
    return 0


def _told(hook: Webhook) -> str:
    return printable(f"webhook {hook.id} of {hook.provider}: {', '.join(hook.events)} to {hook.url}")


def _as_json(hook: Webhook) -> dict[str, Any]:
    return hook.model_dump(mode="json", exclude={"provider", "secret"})


def _show(title: str, hooks: Iterable[Webhook]) -> None:
    cells = (
        (each.id, each.url, ", ".join(each.events), "yes" if each.active else "no", each.created_at)
        for each in hooks
    )
    output.rows(title, ("webhook", "url", "events", "active", "created"), cells)
