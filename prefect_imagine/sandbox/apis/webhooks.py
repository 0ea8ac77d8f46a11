"""AI Visual Studio's webhook subscriptions: kept and listed, never delivered to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect_imagine.sandbox.apis.base import Answer, Call
from prefect_imagine.sandbox.core.clock import iso_z
from prefect_imagine.sandbox.core.shapes import as_list

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
        hook = {
            "id": f"wh_{hashlib.sha256(seed.encode()).hexdigest()[:12]}",
            "url": given["url"],
            "events": given.get("events", list(EVENTS)),
            "is_active": True,
            "created_at": iso_z(self._api.show(call.now)),
        }
        call.account.webhooks[str(hook["id"])] = hook
        secret = hashlib.sha256(f"secret {seed}".encode()).hexdigest()[:32]
        return Answer(hook | {"secret": f"whsec_{secret}"})

    def list(self, call: Call) -> Answer:
        """`GET /webhooks`"""
        hooks = [*call.account.webhooks.values()]
        return Answer({"data": hooks, "total": len(hooks)})

    def update(self, call: Call) -> Answer:
        """`PATCH /webhooks/:id`"""
        self._api.require_scope(call.account, "webhooks")
        hook = self._find(call)
        hook.update(self._given(call))
        return Answer(hook)

    def delete(self, call: Call) -> Answer:
        """`DELETE /webhooks/:id`"""
        self._api.require_scope(call.account, "webhooks")
        hook = self._find(call)
        del call.account.webhooks[hook["id"]]
        return Answer({"success": True})

    def _find(self, call: Call) -> dict[str, Any]:
        hook = call.account.webhooks.get(call.path("hook"))
        if hook is None:
            raise self._api.refuse("not_found", "Webhook not found")
        return hook

    def _given(self, call: Call) -> dict[str, Any]:
        """What of url, events and is_active the body sets, checked."""
        body = call.fields
        if body is None:
            raise self._api.refuse("invalid", "Request body must be a JSON object")
        if "url" in body and not _is_https(body["url"]):
            raise self._api.invalid("url", "url must be an HTTPS URL")
        self._check_events(body.get("events", []))
        return {name: body[name] for name in ("url", "events", "is_active") if name in body}

    def _check_events(self, events: Any) -> None:
        given = as_list(events)
        if given is None or not all(event in EVENTS for event in given):
            raise self._api.invalid("events", f"events must be a list of {', '.join(EVENTS)}")


def _is_https(value: Any) -> bool:
    parts = urlsplit(value) if isinstance(value, str) else None
    return parts is not None and parts.scheme == "https" and bool(parts.netloc)
