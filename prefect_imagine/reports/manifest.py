"""The manifest: one line an item, with everything that became of it. Derived from plans and journals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Protocol

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import Shard, Way, ways
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.costs import ItemCost, item_cost, way_cost
from prefect_imagine.line_file import LineFile
from prefect_imagine.providers.models import Frozen, GenerationRequest, Output
from prefect_imagine.stores import Store


class EarlierWay(Frozen):
    """A way in which an item was to be created before, and was refused, or failed.

    Attributes:
        provider: by whom.
        model: by which model.
        id: the provider's id of its (last) job there.
        reason: a stable word for what went wrong.
        error: the sentence.
        credits: what it cost there, or may have.
    """

    provider: str
    model: str | None
    id: str | None
    reason: str | None
    error: str | None
    credits: ItemCost


class ManifestItem(Frozen):
    """One item: what was asked, and what became of it.

    Attributes:
        index: its place in the batch, from 1.
        item_id: names this item and no other, in any batch.
        name: as the prompt names it.
        request: what was asked for, the provider's choices filled in; where that was refused, what was asked
            for instead.
        id: the provider's id of its (last) job.
        status: planned, open, created, finished, stored, failed, unknown or withdrawn.
        credits: what it cost, or may have, in all ways together.
        outputs: with key (below the batch), bytes, sha256 and media type once stored.
        attempts: how often a create of it was to be sent.
        created_at: when its job was created.
        finished_at: when its job ended.
        stored_at: when its outputs were stored.
        reason: a stable word for what went wrong.
        error: the sentence.
        instead_of: the ways in which it was refused, or failed, before it was created as it is, in order.
    """

    index: int
    item_id: str
    name: str | None
    request: GenerationRequest
    id: str | None
    status: Phase
    credits: ItemCost
    outputs: tuple[Output, ...]
    attempts: int
    created_at: datetime | None
    finished_at: datetime | None
    stored_at: datetime | None
    reason: str | None
    error: str | None
    instead_of: tuple[EarlierWay, ...] = ()


def manifest_key(batch_id: str) -> str:
    """Where the manifest lies below the root."""
    return f"{batch_id}/manifest.jsonl"


def make_manifest(shards: Iterable[Shard]) -> Iterator[ManifestItem]:
    """The manifest of a batch by its shards, each of which is dropped before the next one is asked for."""
    return chain.from_iterable(map(_manifest_items, shards))


def _manifest_items(shard: Shard) -> Iterator[ManifestItem]:
    for item, known in shard.standings():
        yield _manifest_item(item, known)


def _manifest_item(item: BatchItem, known: ItemState) -> ManifestItem:
    return ManifestItem(
        index=item.index,
        item_id=item.item_id,
        name=item.name,
        request=item.request,
        id=known.id,
        status=known.phase,
        credits=item_cost(item, known),
        # A provider's addresses expire and may be signed: only what is stored is worth keeping.
        outputs=known.outputs if known.phase is Phase.STORED else (),
        attempts=known.attempt,
        created_at=known.created_at,
        finished_at=known.finished_at,
        stored_at=known.stored_at,
        reason=known.reason,
        error=known.error,
        instead_of=tuple(_earlier_way(way) for way in ways(item, known) if not way.present),
    )


def _earlier_way(way: Way) -> EarlierWay:
    return EarlierWay(
        provider=way.item.request.provider,
        model=way.item.request.model,
        id=way.state.id,
        reason=way.state.reason,
        error=way.state.error,
        credits=way_cost(way.item, way.state),
    )


class ManifestFile:
    """A manifest on disk, in the format in which it is stored."""

    def __init__(self, items: Iterable[ManifestItem]) -> None:
        self._lines = LineFile(item.model_dump_json().encode() for item in items)

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[ManifestItem]:
        return map(ManifestItem.model_validate_json, self._lines)

    def put(self, store: Store, batch_id: str) -> None:
        """Put the manifest, replacing an older one. Raises `StoreError`."""
        store.put_file(manifest_key(batch_id), self._lines.file, "application/jsonl")


class Items(Protocol):
    """The items of a manifest, in order."""

    def __iter__(self) -> Iterator[ManifestItem]: ...

    def __len__(self) -> int: ...
