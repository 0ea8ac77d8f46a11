"""Which batch and item a stored file came from, by the sha256 of what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prefect_imagine.batches.index import RootIndex, leave_out, read_index
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.billing.settlement import read_settlement
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.providers.models import Output
from prefect_imagine.reports.books import shards_of
from prefect_imagine.reports.manifest import ManifestItem, make_manifest, manifest_key
from prefect_imagine.stores import Store

READERS = 8
SHORTEST = 8
"""Digits that a digest is known by, at least."""
LONGEST_LINE = 16 * 1024**2
"""Bytes of a manifest's line."""
_DIGEST = re.compile(rf"[0-9a-f]{{{SHORTEST},64}}")
_WHOLE = 64


@dataclass(frozen=True)
class Found:
    """An output, and the item that it is one of."""

    batch_id: str
    item: ManifestItem
    output: Output


@dataclass(frozen=True)
class Searched:
    """What came of a look at one batch.

    Attributes:
        error: why it could not be looked at; it is left out then.
    """

    batch_id: str
    found: tuple[Found, ...] = ()
    error: str | None = None


def check_digest(text: str) -> str:
    """The digest, or the beginning of one, in lower case. Raises `ConfigurationError`."""
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise ConfigurationError(
            f"{text!r} is neither a file nor a sha256: give {SHORTEST} to {_WHOLE} hexadecimal digits of one"
        )
    return digest


def find_output(store: Store, digest: str, *, every: bool = False) -> Iterator[Searched]:
    """Look for outputs whose sha256 begins with a digest, the newest batches first: up to the first batch
    that has one. Several batches are read at a time, and none is held in memory.

    Args:
        digest: as `check_digest` returns it.
        every: go on to the last batch; always so for the beginning of a digest, which may be several's.

    Raises:
        ConfigurationError: the beginning is that of several digests.
        StoreError: the store itself fails.
    """
    index = read_index(store)
    whole = len(digest) == _WHOLE
    digests: set[str] = set()
    with ThreadPoolExecutor(READERS) as readers:
        looks = [
            readers.submit(_search, store, name, digest, name in index.settled)
            for name in newest_first(index)
        ]
        try:
            for look in looks:
                searched = look.result()
                digests |= {each.output.sha256 or "" for each in searched.found}
                if len(digests) > 1:
                    raise ConfigurationError(
                        f"{digest} begins several: {', '.join(sorted(digests))}; give more digits"
                    )
                yield searched
                if searched.found and whole and not every:
                    return
        finally:
            readers.shutdown(cancel_futures=True)


def newest_first(index: RootIndex) -> list[str]:
    """The batches under a root: those that may be under way, then the others by their last create."""
    settled = sorted(index.settled, key=lambda name: index.settled[name], reverse=True)
    return [*sorted(index.active), *settled, *sorted(index.strangers)]


def _search(store: Store, batch_id: str, digest: str, settled: bool) -> Searched:
    try:
        items = _from_manifest(store, batch_id, digest) if settled else None
        known = make_manifest(shards_of(store, batch_id)) if items is None else items
        return Searched(batch_id, tuple(_outputs(batch_id, known, digest)))
    except StoreError as error:
        leave_out(batch_id, error)
        return Searched(batch_id, error=str(error))


def _outputs(batch_id: str, items: Iterable[ManifestItem], digest: str) -> Iterator[Found]:
    for item in items:
        for output in item.outputs:
            if (output.sha256 or "").startswith(digest):
                yield Found(batch_id, item, output)


def _from_manifest(store: Store, batch_id: str, digest: str) -> list[ManifestItem] | None:
    """The items of a manifest whose lines have a digest in them; `None` where there is none, where it is
    damaged, or where it lacks what has been stored since: whoever was to write it again may have died."""
    pieces = store.pieces(manifest_key(batch_id))
    if pieces is None:
        return None
    sought, found = b'"' + digest.encode(), list[ManifestItem]()
    count = stored = 0
    try:
        for line in _lines(pieces):
            count += 1
            stored += b'"status":"stored"' in line
            if sought in line:
                found.append(ManifestItem.model_validate_json(line))
    except ValueError:  # pydantic's, too
        return None
    return found if found or (count, stored) == _counts(store, batch_id) else None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, one by one. Raises `ValueError` where one is longer than any, or has no end."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE} bytes")
    if rest:
        raise ValueError("the last line has no end")


def _counts(store: Store, batch_id: str) -> tuple[int, int] | None:
    """The items of a settled batch, and how many are stored; `None` where it is not settled after all."""
    items = stored = 0
    for shard in shard_numbers(store, batch_id):
        settlement = read_settlement(store, shard_path(batch_id, shard))
        if settlement is None:
            return None
        items, stored = items + settlement.usage.items, stored + settlement.usage.stored
    return items, stored
