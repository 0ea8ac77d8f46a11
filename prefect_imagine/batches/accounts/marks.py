"""Where a credit report left an account: `.imagine/balances/<key>.json`, one small object an account.

It holds the balance that the provider told, with the books as they stood then: those of the items that were
last created since some moment. The next report asks the same of the same items, so that refunds and charges
that came later are in the difference.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import uuid4

from pydantic import ValidationError

from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store
from prefect_imagine.stores.change import change_object

BALANCES = ".imagine/balances/"
MOST_LEFT_OUT = 100
"""Names of batches that a mark holds at most."""


class BookSums(Frozen):
    """What the books of all batches under a root say of one provider.

    Attributes:
        charged: credits that it says it charged.
        estimated: credits by a price list, where it reports none.
        possible: estimated credits of creates whose outcome is unknown.
        under_way: how many jobs are neither stored nor failed.
    """

    charged: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    possible: Decimal = Decimal(0)
    under_way: int = 0


class BalanceMark(Frozen):
    """An account as a credit report has seen it.

    Attributes:
        provider: whose account it is.
        balance: the credits that were left.
        at: when the provider told that.
        since: the books are those of items that were last created from here on: a quarter of an hour's
            beginning.
        books: what they said.
        creates: how many creates were ever sent with each account of the provider under this root, by the
            account's name.
        left_out: batches that could not be read, and are in none of the sums.
        write: tells this object from what others have written.
    """

    provider: str
    balance: Credits
    at: datetime
    since: datetime
    books: BookSums
    creates: dict[str, int]
    left_out: tuple[str, ...] = ()
    write: str = ""


def read_mark(store: Store, identity: str) -> BalanceMark | None:
    """Where the last report left an account; `None` where there was none, or one of another version. Raises
    `StoreError`."""
    return _parsed(store.read(_key(identity)) or b"")


def put_mark(store: Store, identity: str, mark: BalanceMark) -> None:
    """Leave an account so, unless somebody has seen it later. Raises `StoreError`."""

    def changed(data: bytes | None) -> bytes:
        known = _parsed(data or b"")
        kept = known if known is not None and known.at > mark.at else mark
        return kept.model_copy(update={"write": uuid4().hex}).model_dump_json().encode()

    change_object(store, _key(identity), changed)


def _key(identity: str) -> str:
    return f"{BALANCES}{identity}.json"


def _parsed(data: bytes) -> BalanceMark | None:
    try:
        return BalanceMark.model_validate_json(data)
    except ValidationError:
        return None
