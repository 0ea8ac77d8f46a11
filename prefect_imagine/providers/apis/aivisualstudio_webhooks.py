"""AI Visual Studio's webhooks (page: Webhooks): registering them, and what there is of them.

Whatever changes something is sent once: after a lost answer the list of webhooks tells what became of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    ServerError,
    UnexpectedResponseError,
)
from prefect_imagine.providers import wire
from prefect_imagine.providers.listing import MOST_PAGES, count
from prefect_imagine.providers.transport.http import READ_ATTEMPTS, Api
from prefect_imagine.providers.webhooks import EVENTS, Webhook, checked_events, checked_url, same_url

logger = logging.getLogger(__name__)

SCOPE = "webhooks"
"""What a key needs for all of this (page: API Key Scopes)."""
_PATH = "/webhooks"
_IDS = ("id", "webhook_id", "uuid")
_LISTS = ("data", "webhooks", "items")
_SINGLE = ("data", "webhook")
_ACTIVE = ("is_active", "active", "enabled")
_SECRETS = ("secret", "signing_secret", "webhook_secret")
_LOST = (ConnectionFailedError, ServerError, UnexpectedResponseError)
"""What leaves open whether a request was carried out."""


class Webhooks:
    """The webhooks of one account."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, url: str, events: Sequence[str] | None) -> Webhook:
        """POST /webhooks"""
        wanted = _given(url=checked_url(url, self._api.base_url), events=checked_events(events))
        known = {each.id for each in await self.all()}
        try:
            body = await self._send("POST", _PATH, wanted)
            return self._webhook(self._record_in(body), wanted, _secret(body))
        except _LOST as error:
            return await self._registered(wanted["url"], known, error)

    async def all(self) -> tuple[Webhook, ...]:
        """GET /webhooks"""
        return tuple(self._webhook(record, {}) for record in await self._records())

    async def update(
        self, webhook_id: str, url: str | None, events: Sequence[str] | None, active: bool | None
    ) -> Webhook:
        """PATCH /webhooks/:id"""
        address = None if url is None else checked_url(url, self._api.base_url)
        wanted = _given(url=address, events=checked_events(events), active=active)
        if not wanted:
            raise ConfigurationError("nothing is to be changed: give a URL, events, or whether it is active")
        path = _path_of(webhook_id)
        sent = {name: value for name, value in wanted.items() if name != "active"}
        if active is not None:
            sent[_active_name(await self._record(webhook_id))] = active
        lost: ProviderError | None = None
        try:
            record = self._record_in(await self._send("PATCH", path, sent))
            whole = bool(record.get("url"))
        except _LOST as error:
            lost, whole = error, False
        found = self._webhook(record if whole else await self._record(webhook_id), wanted)
        if not _shows(found, wanted):
            raise lost or self._unread(f"webhook {webhook_id} was not changed as it was asked to be")
        return found

    async def delete(self, webhook_id: str) -> None:
        """DELETE /webhooks/:id"""
        try:
            await self._send("DELETE", _path_of(webhook_id))
        except _LOST:
            if any(wire.identifier(record, _IDS) == webhook_id for record in await self._records()):
                raise

    async def _registered(self, url: str, known: set[str], error: ProviderError) -> Webhook:
        """The webhook that a request made which got no answer that could be read."""
        try:
            new = [each for each in await self.all() if each.id not in known and same_url(each.url, url)]
        except ProviderError as unread:
            raise self._open(f"{error}; and the list of webhooks cannot be read ({unread})") from error
        if not new:
            raise _with(
                error, "it is not registered so far: look at the list before you try again"
            ) from error
        if len(new) > 1:
            raise self._open(f"{error}; it is one of {', '.join(each.id for each in new)}") from error
        logger.warning(
            "%s: webhook %s is registered, but the answer that held its secret was lost: delete it and "
            "register it again (%s)",
            self._api.provider,
            new[0].id,
            error,
        )
        return new[0]

    async def _record(self, webhook_id: str) -> wire.Record:
        """What the list shows of a webhook."""
        for record in await self._records():
            if wire.identifier(record, _IDS) == webhook_id:
                return record
        provider = self._api.provider
        raise NotFoundError(f"{provider}: there is no webhook {webhook_id!r}", provider=provider)

    async def _records(self) -> list[wire.Record]:
        """The whole list. The page names no parameters: they are only sent where a list says it is longer."""
        found: dict[str, wire.Record] = {}
        for _ in range(MOST_PAGES):
            with self._explained():
                params = {"offset": len(found)} if found else None
                body = await self._api.read("GET", _PATH, purpose="other", params=params)
            rows = wire.records_of(self._api.provider, body, *_LISTS)
            fresh = {each: row for row in rows if (each := wire.identifier(row, _IDS)) and each not in found}
            found |= fresh
            total = count(wire.first(wire.beside_list(body, *_LISTS), "total", "count"))
            if not fresh or total is None or total <= len(found):
                break
        return list(found.values())

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request that changes something: again only after the rate limit has refused it."""
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                with self._explained():
                    return await self._api.read(method, path, purpose="other", json=body, attempts=1)
            except RateLimitedError as error:
                if attempt == READ_ATTEMPTS or error.queue_full:
                    raise
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say which scope a key lacks, and take no complaint about a webhook for a failure of the API."""
        try:
            yield
        except AuthenticationError as error:
            if error.status_code != 403 or error.code == "ip_not_allowed":
                raise
            lacks = f"this key lacks the scope `{SCOPE}`: make one that has it, or let another key do this"
            raise _with(error, lacks) from error
        except ServerError as error:
            # Words such as "webhook" and "already" mean a failure elsewhere; here they are what it is about.
            if error.status_code not in (400, 409, 422) or error.code == "internal_error":
                raise
            raise _with(error, "", InvalidRequestError) from error

    def _record_in(self, body: Any) -> wire.Record:
        return wire.record_of(self._api.provider, body, *_SINGLE, ids=_IDS)

    def _webhook(self, record: wire.Record, asked: dict[str, Any], secret: str | None = None) -> Webhook:
        """A record; what it does not tell is as it was asked for, or as it is by default."""
        events = record.get("events")
        active = wire.first(record, *_ACTIVE)
        return Webhook(
            provider=self._api.provider,
            id=wire.require_identifier(self._api.provider, record, _IDS),
            url=str(record.get("url") or asked.get("url") or ""),
            events=tuple(map(str, events if isinstance(events, list) else asked.get("events", EVENTS))),
            active=asked.get("active", True) if active is None else _truth(active),
            secret=SecretStr(secret) if secret else None,
            created_at=wire.moment(record.get("created_at")),
        )

    def _unread(self, message: str) -> UnexpectedResponseError:
        provider = self._api.provider
        return UnexpectedResponseError(f"{provider}: {message}", provider=provider)

    def _open(self, message: str) -> AmbiguousCreateError:
        return AmbiguousCreateError(
            f"{message}; a webhook may have been registered, and its secret is lost: find it in the list by "
            "its URL, delete it, and register it again",
            provider=self._api.provider,
        )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _path_of(webhook_id: str) -> str:
    if not webhook_id.strip(" ."):  # it would be another path
        raise ConfigurationError(f"{webhook_id!r} is no id of a webhook")
    return f"{_PATH}/{quote(webhook_id, safe='')}"


def _active_name(record: wire.Record) -> str:
    """What the API calls whether a webhook is active: the page does not say."""
    return next((name for name in _ACTIVE if name in record), _ACTIVE[0])


def _truth(value: Any) -> bool:
    return bool(value) and str(value).lower() not in ("false", "0", "no", "inactive")


def _secret(body: Any) -> str | None:
    """The secret in an answer, in the record or beside it."""
    boxes = [body, *(body.get(name) for name in _SINGLE)] if isinstance(body, dict) else []
    found = (wire.first(box, *_SECRETS) for box in boxes if isinstance(box, dict))
    return next((each for each in found if isinstance(each, str) and each), None)


def _shows(webhook: Webhook, wanted: dict[str, Any]) -> bool:
    """Whether a webhook is as it was asked to be."""
    return (
        same_url(webhook.url, wanted.get("url", webhook.url))
        and set(webhook.events) == set(wanted.get("events", webhook.events))
        and webhook.active == wanted.get("active", webhook.active)
    )


def _with(error: ProviderError, words: str, kind: type[ProviderError] | None = None) -> ProviderError:
    """The same error with more to say, or as another kind."""
    message = f"{error}: {words}" if words else str(error)
    status, code = error.status_code, error.code
    return (kind or type(error))(message, provider=error.provider, status_code=status, code=code)
