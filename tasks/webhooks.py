"""Webhooks, as tasks."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_imagine.providers.webhooks import Webhook
from prefect_imagine.tasks.clients import READS, Credentials, open_clients


@task(name="register-webhook", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def register_webhook(
    provider: str, url: str, events: Sequence[str] | None = None, credentials: Credentials = None
) -> Webhook:
    """Have a provider send events to an https address: these, or all.

    Its `secret` is told this once: keep it. It is `None` where the answer was lost or held none; then remove
    the webhook and register it again. Give this task no retries: each run makes another webhook.

    Args:
        provider: its name.
        url: where it is to deliver.
        events: what it is to tell, such as `generation.completed`; all where none is named.
        credentials: a block of the provider; the environment's key where there is none.

    Raises:
        ConfigurationError: no such URL or event, or no key; nothing was sent.
        AuthenticationError: the key lacks a scope, which the message names.
        AmbiguousCreateError: it may be registered, and the provider's list does not tell.
        UnsupportedOperationError: the provider has no webhooks.
    """
    async with open_clients([provider], credentials) as clients:
        return await clients[provider].create_webhook(url, events)


@task(name="list-webhooks", **READS)
async def list_webhooks(provider: str, credentials: Credentials = None) -> list[Webhook]:
    """The account's webhooks, without their secrets.

    Args:
        provider: its name.
        credentials: a block of the provider; the environment's key where there is none.

    Raises:
        UnsupportedOperationError: the provider has no webhooks.
    """
    async with open_clients([provider], credentials) as clients:
        return list(await clients[provider].webhooks())


@task(name="update-webhook", **READS)
async def update_webhook(
    provider: str,
    webhook_id: str,
    url: str | None = None,
    events: Sequence[str] | None = None,
    active: bool | None = None,
    credentials: Credentials = None,
) -> Webhook:
    """Change what is given of a webhook, and leave the rest.

    Args:
        provider: its name.
        webhook_id: the provider's id of it.
        url: another address.
        events: others than before.
        active: whether it is to send anything.
        credentials: a block of the provider; the environment's key where there is none.

    Raises:
        NotFoundError: there is none of this id.
        UnsupportedOperationError: the provider has no webhooks.
    """
    async with open_clients([provider], credentials) as clients:
        return await clients[provider].update_webhook(webhook_id, url, events, active)


@task(name="remove-webhook", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def remove_webhook(provider: str, webhook_id: str, credentials: Credentials = None) -> None:
    """Delete a webhook, and no other.

    Args:
        provider: its name.
        webhook_id: the provider's id of it.
        credentials: a block of the provider; the environment's key where there is none.

    Raises:
        NotFoundError: there is none of this id.
        UnsupportedOperationError: the provider has no webhooks.
    """
    async with open_clients([provider], credentials) as clients:
        await clients[provider].delete_webhook(webhook_id)
