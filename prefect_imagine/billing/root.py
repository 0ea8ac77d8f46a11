"""The batches under a root by their books, shard by shard: settled ones by one object each, others by plan
and journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect_imagine.batches.index import (
    Unreadable,
    batches_since,
    forget_index_mark,
    is_indexed,
    leave_out,
    settle_batch,
)
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import FIRST, shard_numbers, shard_path
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.settlement import (
    Settlement,
    read_settlement,
    settle,
    write_settlement,
)
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Unsettled(Shard):
    """A shard that is not settled, or of which nobody has said so.

    Attributes:
        seq: the last segment of its journal.
        damaged: whether some of it could not be read.
    """

    seq: int
    damaged: bool

    @property
    def bill(self) -> Bill:
        """Its bill."""
        return Bill.of(self.plan, self.state)

    @property
    def path(self) -> str:
        """The shard's folder below the root."""
        return self.plan.path


Books = Settlement | Unsettled
"""The books of one shard."""


def shard_books(store: Store, batch_id: str, shard: int = FIRST) -> Books | None:
    """A shard by its settlement, or else by plan and journal; `None` where there is no plan. Raises
    `StoreError`."""
    return read_settlement(store, shard_path(batch_id, shard)) or read_unsettled(store, batch_id, shard)


def read_unsettled(store: Store, batch_id: str, shard: int) -> Unsettled | None:
    """A shard by plan and journal; `None` where there is no plan. Raises `StoreError`."""
    plan = read_plan(store, batch_id, shard)
    # Without a plan too its journal has to be readable, for all to know that it says nothing.
    reading = read_journal(store, shard_path(batch_id, shard))
    return None if plan is None else Unsettled(plan, reading.state, reading.seq, bool(reading.damaged))


def books_of(store: Store, batch_id: str) -> Iterator[Books]:
    """The shards of a batch, one after the other; none where there is no batch. Raises `StoreError`."""
    for shard in shard_numbers(store, batch_id):
        found = shard_books(store, batch_id, shard)
        if found is not None:
            yield found


def books_since(store: Store, since: datetime, unreadable: Unreadable = leave_out) -> Iterator[Books]:
    """The shards that are active or have created something since then, one after the other; a damaged batch
    is reported and left out. Raises `StoreError` where the store itself fails."""
    for batch_id in batches_since(store, since, unreadable):
        try:
            yield from (each for each in books_of(store, batch_id) if not _before(each, since))
        except StoreError as error:
            unreadable(batch_id, error)


def _before(books: Books, since: datetime) -> bool:
    """Whether a shard has settled, and created nothing since then."""
    last = books.last_create if isinstance(books, Settlement) else since
    return last is None or last < since.replace(microsecond=0)


def take_stock(store: Store, batch_id: str, shard: int) -> Books | None:
    """The same as `shard_books`; and of a shard that has settled without its holder's saying so, because it
    died or knew no settlements, that is written down now. Raises `StoreError` where it cannot be read."""
    books = shard_books(store, batch_id, shard)
    if not isinstance(books, Unsettled) or books.damaged:
        return books
    settled = settle(books.plan, books.state, books.seq, books.bill, utc_now())
    if settled is None:
        return books
    try:
        write_settlement(store, settled)
    except StoreError as error:  # whoever may only read it reads it again the next time
        logger.info("shard %s cannot be noted as settled: %s", settled.path, error)
    return settled


def settle_stock(
    store: Store,
    batch_id: str,
    shards: Iterable[int],
    meet: Callable[[Unsettled], None] = lambda shard: None,
    *,
    listed: bool = True,
) -> bool:
    """Write down how the shards of a batch have settled, and list it once all have, where whoever ran it has
    died before that; and say whether all have. Raises `StoreError`.

    Args:
        shards: the numbers of all of them.
        meet: is called for each that has not settled.
        listed: whether the batch is listed; otherwise somebody has yet to say how it ended.
    """
    settled: dict[int, Settled] = {}
    unsettled = False
    for shard in shards:
        found = take_stock(store, batch_id, shard)
        if isinstance(found, Settlement):
            settled[shard] = Settled(found.seq, found.last_create)
        elif found is not None:
            unsettled = True
            meet(found)
    if listed and not unsettled:
        list_settled(store, batch_id, settled)
    return not unsettled


@dataclass(frozen=True)
class Settled:
    """How a shard has settled: its last segment, and when it created something last."""

    seq: int
    last_create: datetime | None


def list_settled(store: Store, batch_id: str, shards: Mapping[int, Settled]) -> None:
    """List a batch all of whose shards have settled among the settled ones, if its root has an index; of a
    folder without any the index's mark is removed. Whoever may only read the store is none the worse."""
    try:
        if not is_indexed(store):
            return
        if shards:
            last_create = max(each.last_create or NEVER for each in shards.values())
            settle_batch(store, batch_id, last_create, {shard: each.seq for shard, each in shards.items()})
        else:
            forget_index_mark(store, batch_id)
    except StoreError as error:
        logger.info("batch %s cannot be listed as settled: %s", batch_id, error)
