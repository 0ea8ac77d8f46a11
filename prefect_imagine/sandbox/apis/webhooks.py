"""AI Visual Studio's webhooks: what an account registers, changes and deletes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from prefect_imagine.sandbox.apis.base import Answer, Call
from prefect_imagine.sandbox.core.accounts import Subscription
from prefect_imagine.sandbox.core.clock import iso_z
from prefect_imagine.sandbox.core.notices import PREFIX, is_loopback
from prefect_imagine.sandbox.core.shapes import as_list, is_url

if TYPE_CHECKING:
    from prefect_imagine.sandbox.apis.aivisualstudio import AIVisualStudio

EVENTS = ("generation.completed", "generation.failed")


class Webhooks:
    """`/webhooks` (page: Webhooks). The secret is shown once, at creation."""

    def __init__(self, api: AIVisualStudio) -> None:
        self._api = api
        self._created = 0

    def create(self, call: Call) -> Answer:
        """`POST /webhooks`"""
        self._api.require_scope(call.account, "webhooks")
        given = self._given(call)
        if "url" not in given:
            raise self._api.invalid("url", "url is required")
        self._created += 1
        seed = f"{call.account.name}:{self._created}"
        hook = Subscription(
            id=f"wh_{hashlib.sha256(seed.encode()).hexdigest()[:12]}",
            url=given["url"],
            events=given.get("events", list(EVENTS)),
            created_at=iso_z(self._api.show(call.now)),
            secret=PREFIX + hashlib.sha256(f"secret {seed}".encode()).hexdigest()[:32],
        )
        call.account.webhooks[hook.id] = hook
        return Answer(_shown(hook) | {"secret": hook.secret})

    def list(self, call: Call) -> Answer:
        """`GET /webhooks`"""
        hooks = [_shown(hook) for hook in call.account.webhooks.values()]
        return Answer({"data": hooks, "total": len(hooks)})

    def update(self, call: Call) -> Answer:
        """`PATCH /webhooks/:id`"""
        self._api.require_scope(call.account, "webhooks")
        hook = self._find(call)
        for name, value in self._given(call).items():
            setattr(hook, name, value)
        return Answer(_shown(hook))

    def delete(self, call: Call) -> Answer:
        """`DELETE /webhooks/:id`"""
        self._api.require_scope(call.account, "webhooks")
        hook = self._find(call)
        del call.account.webhooks[hook.id]
        return Answer({"success": True})

    def _find(self, call: Call) -> Subscription:
        hook = call.account.webhooks.get(call.path("hook"))
        if hook is None:
            raise self._api.refuse("not_found", "Webhook not found")
        return hook

    def _given(self, call: Call) -> dict[str, Any]:
        """What of url, events and is_active the body sets, checked."""
        body = call.fields
        if body is None:
            raise self._api.refuse("invalid", "Request body must be a JSON object")
        if "url" in body and not _may_be_told(body["url"]):
            raise self._api.invalid("url", "url must be an HTTPS URL")
        if not isinstance(body.get("is_active", True), bool):
            raise self._api.invalid("is_active", "is_active must be a boolean")
        self._check_events(body.get("events", []))
        return {name: body[name] for name in ("url", "events", "is_active") if name in body}

    def _check_events(self, events: Any) -> None:
        given = as_list(events)
        if given is None or not all(event in EVENTS for event in given):
            raise self._api.invalid("events", f"events must be a list of {', '.join(EVENTS)}")


def _shown(hook: Subscription) -> dict[str, Any]:
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "is_active": hook.is_active,
        "created_at": hook.created_at,
    }


def _may_be_told(value: Any) -> bool:
    """HTTPS anywhere, and plain HTTP on this machine."""
    return is_url(value, ("https",)) or (is_url(value, ("http",)) and is_loopback(value))
