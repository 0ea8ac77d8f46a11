"""A batch's books, written beside its outputs: manifest, bill and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from prefect_imagine.batches.index import is_marked_active
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.billing.root import read_unsettled, settle_stock
from prefect_imagine.billing.usage import Usage
from prefect_imagine.failpoints import reach
from prefect_imagine.reports.manifest import ManifestFile, make_manifest, manifest_key
from prefect_imagine.reports.report_writer import report_key, write_report
from prefect_imagine.stores import Store


def shards_of(store: Store, batch_id: str, held: Mapping[int, Shard] | None = None) -> Iterator[Shard]:
    """The shards of a batch, one after the other: none is kept here while the next one is read. Raises
    `StoreError`.

    Args:
        held: shards that need not be read, by number.
    """

    def known(shard: int) -> Shard | None:
        return (held or {}).get(shard) or read_unsettled(store, batch_id, shard)

    return filter(None, map(known, shard_numbers(store, batch_id)))


def usage_key(batch_id: str) -> str:
    """Where the bill lies below the root."""
    return f"{batch_id}/usage.json"


def write_books(store: Store, usage: Usage, held: Mapping[int, Shard] | None = None) -> None:
    """Put manifest, bill and report of a batch, replacing older ones.

    Args:
        held: shards that need not be read, by number.
    """
    items = ManifestFile(make_manifest(shards_of(store, usage.batch_id, held)))
    items.put(store, usage.batch_id)
    reach("mid_manifest")
    bill = usage.model_dump_json(indent=2).encode()
    store.put(usage_key(usage.batch_id), bill, "application/json")
    write_report(store, usage.batch_id, items, usage)


def settle_books(store: Store, usage: Usage, *, to_announce: bool = False) -> None:
    """Write the books of a settled batch, and that it has settled, if whoever ran it was killed before.

    Args:
        to_announce: whether its end is still to be announced, so that it counts as active until then.
    """
    batch_id = usage.batch_id
    there = all(store.head(key) for key in (manifest_key(batch_id), report_key(batch_id)))
    if not there or not _same(store.read(usage_key(batch_id)), usage):
        write_books(store, usage)
    if not to_announce and is_marked_active(store, batch_id):
        settle_stock(store, batch_id, shard_numbers(store, batch_id))


def _same(written: bytes | None, usage: Usage) -> bool:
    """Whether a written bill says what this one says; balances are known only to the run that read them."""
    try:
        known = Usage.model_validate_json(written or b"")
    except ValidationError:
        return False
    return known.model_copy(update={"as_of": usage.as_of, "balances": ()}) == usage
