"""What a webhook is sent: its address, its body, its signature, and what came of it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

PREFIX = "whsec_"
SIGNATURE = "X-Webhook-Signature"


@dataclass(frozen=True, slots=True)
class Receiver:
    """An address that is told of a job. With a `secret`, what it is told is signed."""

    url: str
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One body for one receiver. `skew` is how many seconds the signature's time lies in the past; a
    `forged` notice is not the provider's: it is sent once, whatever the answer."""

    provider: str
    receiver: Receiver
    body: bytes
    skew: float = 0.0
    forged: bool = False


@dataclass(slots=True, eq=False)
class Tally:
    """What has been delivered for one provider since the last reset.

    `sent` are requests, each of which was `accepted` (2xx), `refused` by a status or `failed` without one.
    Of the deliveries, `pending` ones will be tried (again), `given_up` ones no more, `not_delivered` ones
    have an address beyond loopback, and `dropped` ones fell to a fault. Forged notices are counted apart
    from all these, as is whoever fetches the file that one names.
    """

    sent: int = 0
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter[int])
    failed: int = 0
    pending: int = 0
    given_up: int = 0
    not_delivered: int = 0
    dropped: int = 0
    forged: int = 0
    forged_accepted: int = 0
    forged_fetched: int = 0

    def as_json(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in self.__slots__}
        refused = sorted(dict(self.refused).items())
        return counts | {"refused": {str(status): count for status, count in refused}}


def to_json(value: Any) -> bytes:
    """JSON as JavaScript's `JSON.stringify` writes it: no blanks, and only lone surrogates escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


def signature(secret: str, moment: int, body: bytes) -> str:
    """`t=…,v1=…`: HMAC-SHA256 of `<t>.<body>` under the secret."""
    digest = hmac.new(secret.encode(), b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def is_loopback(url: str) -> bool:
    """Whether the address, as the HTTP client reads it, is on this machine."""
    try:
        parsed = URL(url)
        host = parsed.host if parsed.scheme in ("http", "https") else None
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
