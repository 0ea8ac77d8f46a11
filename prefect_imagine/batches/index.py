"""The batches under one root: which there are, which are active, and when the settled ones created last.

    .imagine/index.json                   this root has an index
    .imagine/active/<batch>~<claim>       put after a claim of a journal and before its first intent, gone
                                          once the batch is settled; `~<claim>.<n>` for a further shard
    .imagine/settled/<time>~<batch>       put before that, again whenever it is settled again; the time is
                                          that of the batch's last create, and it holds its last segments

So a look at what may concern a moment costs by what is active and by what was settled since, whatever else
lies under the root. A root without an index, as the first edition made them, is looked through folder by
folder; so is what came under an indexed root by other means than a run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect_imagine.batches.fleet.dispatch import dispatch_key
from prefect_imagine.batches.reading import folder, may_be_batch, possible_batches
from prefect_imagine.batches.shards import FIRST, shard_numbers, shard_path
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store, StoredObject

logger = logging.getLogger(__name__)

DAY = 24 * 3600.0
INDEX = ".imagine/index.json"
ACTIVE = ".imagine/active/"
SETTLED = ".imagine/settled/"
BY_INDEX = "00000000"
"""The claim that stands for whoever ran a batch before its root had an index."""
_TIME = "%Y%m%dT%H%M%S"
_WRITERS = 8
Unreadable = Callable[[str, StoreError], None]
"""Takes in which batch cannot be read, and why; it raises where that must not pass."""

Claims = Mapping[int, int]
"""By shard of a batch, the segment of its last claim. Whoever writes to a shard has claimed it before."""


@dataclass(frozen=True)
class RootIndex:
    """The batches under a root.

    Attributes:
        claims: those that are marked as active, with what their marks say.
        settled: the others that are listed as settled, with the time of their last create.
        entries: what lists each of these. Its `modified` is when the batch was last settled, and its version
            is another one where anything has come to the batch since.
        strangers: folders that may be batches, and of which the index knows nothing.
    """

    claims: Mapping[str, Claims]
    settled: Mapping[str, datetime]
    strangers: frozenset[str]
    entries: Mapping[str, StoredObject]

    @property
    def active(self) -> frozenset[str]:
        """The batches that are marked as active."""
        return frozenset(self.claims)

    def settled_since(self, since: datetime) -> list[str]:
        """Those of the settled ones that have created something since then."""
        return [name for name, last in self.settled.items() if last >= since.replace(microsecond=0)]

    @property
    def unsettled(self) -> list[str]:
        """Those that may not be settled, ascending."""
        return sorted(self.active | self.strangers)


def read_index(store: Store) -> RootIndex:
    """What lies under a root; all of it unknown where there is no index. Raises `StoreError`."""
    # In this order: a batch is listed as settled before its mark is removed.
    claims = active_claims(store)
    settled: dict[str, datetime] = {}
    entries: dict[str, StoredObject] = {}
    for found in store.list(SETTLED):
        time, _, name = found.key.removeprefix(SETTLED).partition("~")
        if not may_be_batch(name):
            continue
        with suppress(ValueError):
            settled[name] = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
            entries[name] = found
    strangers = set(possible_batches(store)) - claims.keys() - settled.keys()
    for name in claims:
        settled.pop(name, None)
    return RootIndex(claims, settled, frozenset(strangers), entries)


def active_batches(store: Store) -> set[str]:
    """The batches that are marked as active. Raises `StoreError`."""
    return set(active_claims(store))


def active_claims(store: Store) -> dict[str, Claims]:
    """The same, with what their marks say. Raises `StoreError`."""
    active: dict[str, dict[int, int]] = {}
    for found in store.list(ACTIVE):
        name, _, mark = found.key.removeprefix(ACTIVE).rpartition("~")
        if not may_be_batch(name):
            continue
        claims = active.setdefault(name, {})
        if (numbers := _numbers(mark)) is not None:
            shard, claim = numbers
            claims[shard] = max(claim, claims.get(shard, 0))
    return dict(active)


def _numbers(mark: str) -> tuple[int, int] | None:
    """The shard of a mark, and the segment of the claim."""
    claim, _, shard = mark.partition(".")
    shard = shard or str(FIRST)
    if all(each.isascii() and each.isdecimal() for each in (claim, shard)):
        return int(shard), int(claim)
    return None


def is_marked_active(store: Store, batch_id: str) -> bool:
    """Whether a batch is marked as active. Raises `StoreError`."""
    return next(iter(store.list(_active_key(batch_id, ""))), None) is not None


def is_indexed(store: Store) -> bool:
    """Whether a root has an index. Raises `StoreError`."""
    return store.head(INDEX) is not None


def check_root(store: Store) -> None:
    """Make sure that a root which had an index is still there. Raises `StoreError` where it is gone, or
    another one is in its place."""
    if not is_indexed(store):
        raise StoreError(f"{store.address} is gone: it has no index any more", retryable=True)


def ensure_index(store: Store) -> None:
    """Give a root an index, in which what lies there already counts as active until somebody has looked.
    Raises `StoreError`."""
    if is_indexed(store):
        return
    keys = [_active_key(name, BY_INDEX) for name in possible_batches(store)]
    with ThreadPoolExecutor(_WRITERS) as writers:
        list(writers.map(lambda key: store.put_new(key, b""), keys))
    store.put_new(INDEX, b'{"format":1}', "application/json")


def put_mark(store: Store, batch_id: str, shard: int, claim: int) -> None:
    """Mark a batch as active by a claim of one of its shards, and remove the marks of earlier ones.

    It is put once the claim is durable: whoever claimed before writes no more, so that their marks can go,
    and none of them ever removes this one. Raises `StoreError`.

    Args:
        claim: the segment of the claim.
    """
    ensure_index(store)
    store.put_new(_active_key(batch_id, f"{claim:08d}", shard), b"")
    _remove_marks(store, batch_id, {shard: claim - 1})


def settle_batch(
    store: Store,
    batch_id: str,
    last_create: datetime,
    shards: Mapping[int, int],
    before: datetime | None = None,
) -> None:
    """Say that a batch is settled; the settlements of its shards have been written. Raises `StoreError`.

    Args:
        last_create: when it created something last.
        before: the same as an earlier entry has it, which goes. One that stays leads to the same settlements.
        shards: the last segment of each shard's journal. Whoever has claimed one since keeps the mark.
    """
    segments = json.dumps({"shards": {str(shard): seq for shard, seq in sorted(shards.items())}})
    store.put(_settled_key(batch_id, last_create), segments.encode(), "application/json")
    if before is not None and _settled_key(batch_id, before) != _settled_key(batch_id, last_create):
        store.delete(_settled_key(batch_id, before))
    _remove_marks(store, batch_id, shards)


def _remove_marks(store: Store, batch_id: str, shards: Mapping[int, int]) -> None:
    for found in list(store.list(_active_key(batch_id, ""))):
        numbers = _numbers(found.key.rpartition("~")[2])
        if numbers is not None and numbers[1] <= shards.get(numbers[0], -1):
            store.delete(found.key)


def forget_index_mark(store: Store, batch_id: str) -> None:
    """Remove the mark that the index itself made, of a folder that is no batch. Raises `StoreError`."""
    store.delete(_active_key(batch_id, BY_INDEX))


def leave_out(batch_id: str, error: StoreError) -> None:
    """Report a batch that cannot be read; raise the error where the store itself fails."""
    if error.retryable:
        raise error
    logger.warning("batch %s cannot be read and is left out: %s", batch_id, error)


def batches_since(store: Store, since: datetime, unreadable: Unreadable = leave_out) -> list[str]:
    """The batches that have created something since then, ascending: by the provider's clock those that are
    settled, and by the store's own clock those of the others that were written to. Raises `StoreError`."""
    index = read_index(store)
    written = written_since(store, index.unsettled, since.timestamp(), unreadable)
    return sorted({*index.settled_since(since), *written})


def unsettled_batches(store: Store, since: float) -> Iterator[str]:
    """The batches that may not be settled and were written to since then (epoch seconds, by the store's own
    clock), ascending. Raises `StoreError`."""
    return written_since(store, read_index(store).unsettled, since)


def written_since(
    store: Store, names: list[str], since: float, unreadable: Unreadable = leave_out
) -> Iterator[str]:
    """Those of these batches that were written to since then (epoch seconds, by the store's own clock).
    Raises `StoreError`."""
    written = ((name, _written(store, name, unreadable)) for name in names)
    return (name for name, at in written if at is not None and at >= since)


def _written(store: Store, batch_id: str, unreadable: Unreadable) -> float | None:
    """When a batch was last written to; `None` where there is none, or none that can be read."""
    try:
        paths = (shard_path(batch_id, shard) for shard in shard_numbers(store, batch_id))
        segments = (found for path in paths for found in store.list(folder(path)))
        last = max((found.modified for found in segments), default=None)
        if last is not None:
            return last
        handed_over = store.head(dispatch_key(batch_id))  # none of its shards has begun yet
        return None if handed_over is None else handed_over.modified
    except StoreError as error:
        unreadable(batch_id, error)
        return None


def _settled_key(batch_id: str, last_create: datetime) -> str:
    return f"{SETTLED}{last_create.astimezone(UTC):{_TIME}}~{batch_id}"


def _active_key(batch_id: str, claim: str, shard: int = FIRST) -> str:
    return f"{ACTIVE}{batch_id}~{claim}" + ("" if shard == FIRST else f".{shard:05d}")
