"""What all who store under a root have seen of an account: `.imagine/accounts/<key>.json`.

Each of them adds to it what it has sent, by compare-and-swap, about twice a minute. One that is killed takes
what it sent since then with it; nothing but metrics depends on that.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import uuid4

from pydantic import ValidationError

from prefect_imagine.errors import StoreError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store
from prefect_imagine.stores.change import change_object

logger = logging.getLogger(__name__)

ACCOUNTS = ".imagine/accounts/"


class AccountRecord(Frozen):
    """What has been seen of an account.

    Attributes:
        provider: whose account it is.
        requests: how many were ever sent to its API, by purpose: create, poll, fetch, history, other.
        rate_limited: how many of them were refused for the rate limit.
        limit: requests that the key may send in a window, as far as that is known.
        window: how many seconds that is.
        balance: the credits that were left, as the provider told last.
        balance_at: when it did.
        write: tells this object from what others have written, though they counted the same.
    """

    provider: str
    requests: dict[str, int] = {}  # noqa: RUF012 pydantic copies it
    rate_limited: int = 0
    limit: int | None = None
    window: float | None = None
    balance: Credits | None = None
    balance_at: datetime | None = None
    write: str = ""

    @property
    def limit_per_second(self) -> float | None:
        """The requests that the key may send in a second; `None` where that is not known."""
        return self.limit / self.window if self.limit and self.window else None

    def with_traffic(self, sent: Mapping[str, int], rate_limited: int) -> AccountRecord:
        """With so many more requests, and of them refused for the rate limit."""
        requests = dict(Counter(self.requests) + Counter(sent))
        return self.model_copy(
            update={"requests": requests, "rate_limited": self.rate_limited + rate_limited}
        )

    def with_limit(self, limit: Rate, *, told: bool) -> AccountRecord:
        """With another limit.

        Args:
            told: whether headers tell it. They tell how long a window still lasts: the longest is the window.
        """
        same = told and self.window is not None and limit.limit == self.limit
        window = max(self.window or 0.0, limit.seconds) if same else limit.seconds
        return self.model_copy(update={"limit": limit.limit, "window": round(window, 3)})

    def believes(self, balance: Credits) -> bool:
        """Whether that may be what is left. A key that may not see its account's balance is told 0, too: only
        one that was told more before is believed to be empty."""
        return balance != 0 or self.balance is not None

    def with_balance(self, balance: Credits, at: datetime) -> AccountRecord:
        """With what was left then, unless something later is known, or it is not to be believed."""
        if (self.balance_at is not None and self.balance_at > at) or not self.believes(balance):
            return self
        return self.model_copy(update={"balance": balance, "balance_at": at})


def change_account_record(
    store: Store, identity: str, provider: str, change: Callable[[AccountRecord], AccountRecord]
) -> None:
    """Change what is known of an account; others may do so at the same time. Raises `StoreError`."""

    def changed(data: bytes | None) -> bytes:
        known = _parsed(data or b"") or AccountRecord(provider=provider)
        written = change(known).model_copy(update={"write": uuid4().hex})
        return written.model_dump_json(exclude_none=True).encode()

    change_object(store, _key(identity), changed)


def note_balance(store: Store, identity: str, balance: Credits, at: datetime) -> None:
    """Note what is left on an account, if anything was ever sent with it under this root. Raises
    `StoreError`."""
    known = _parsed(store.read(_key(identity)) or b"")
    if known is not None:
        change_account_record(store, identity, known.provider, lambda found: found.with_balance(balance, at))


def believed(store: Store, identity: str, balance: Credits) -> bool:
    """Whether an account has what its provider tells: 0 is believed of one alone that had more under this
    root, and not while the store cannot be read."""
    if balance != 0:
        return True
    try:
        known = _parsed(store.read(_key(identity)) or b"")
    except StoreError as error:
        logger.info("what is known of %s cannot be read: %s", identity, error)
        return False
    return known is not None and known.believes(balance)


def read_account_records(store: Store) -> dict[str, AccountRecord]:
    """What has been seen of each account that was used under a root. Raises `StoreError`."""
    records: dict[str, AccountRecord] = {}
    for found in store.list(ACCOUNTS):
        record = _parsed(store.read(found.key) or b"")
        if record is not None:
            records[found.key.removeprefix(ACCOUNTS).removesuffix(".json")] = record
    return records


def _key(identity: str) -> str:
    return f"{ACCOUNTS}{identity}.json"


def _parsed(data: bytes) -> AccountRecord | None:
    try:
        return AccountRecord.model_validate_json(data)
    except ValidationError:
        return None
