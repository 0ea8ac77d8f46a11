"""Where the shards of a batch lie: the first in the batch's own folder, each further one in its own below it.

    <batch>/plan.jsonl, journal/, snapshots/, lease.json, settled.json        shard 1
    <batch>/shards/<n>/plan.jsonl, journal/, …                                shard n

A batch only ever gains shards, without a gap in their numbers. One that the first edition made, or that
nobody has amended, is its first shard.
"""

from __future__ import annotations

from prefect_imagine.stores import Store

FIRST = 1


def shard_path(batch_id: str, shard: int = FIRST) -> str:
    """The folder of a shard below the root."""
    return batch_id if shard == FIRST else f"{batch_id}/shards/{shard:05d}"


def shard_numbers(store: Store, batch_id: str) -> range:
    """The numbers of a batch's shards, of which the first may be missing where there is no batch. Raises
    `StoreError`."""
    names = store.folders(f"{batch_id}/shards")
    further = (int(name) for name in names if name.isascii() and name.isdecimal())
    return range(FIRST, max(further, default=FIRST) + 1)


def batch_of(path: str) -> str:
    """The batch that a shard's folder belongs to."""
    return path.partition("/")[0]
