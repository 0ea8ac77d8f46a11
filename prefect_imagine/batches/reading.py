"""What a journal says: all records from the newest readable snapshot on, as far as they read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.batches.records import (
    FORMAT,
    AnyRecord,
    Header,
    to_record,
    unwrap_line,
)
from prefect_imagine.batches.snapshot import STANDING, Standing, to_standing
from prefect_imagine.batches.state import BatchState
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

Entry = AnyRecord


@dataclass
class Reading:
    """What a journal says.

    Attributes:
        seq: the last segment there is; 0 for none.
        snapshots: the sequences of the snapshots that are kept, ascending.
        snapshot_bytes: how large the newest of them is.
        bytes_since: of the segments that follow it.
        damaged: segments that could not be read whole.
    """

    state: BatchState = field(default_factory=BatchState)
    seq: int = 0
    snapshots: list[int] = field(default_factory=list)
    snapshot_bytes: int = 0
    bytes_since: int = 0
    damaged: list[str] = field(default_factory=list)


def possible_batches(store: Store) -> Iterator[str]:
    """The folders under a root that may be batches, ascending: others may lie there too, under names that no
    batch has. Raises `StoreError`."""
    return filter(may_be_batch, store.folders(""))


def may_be_batch(name: str) -> bool:
    """Whether a batch may have this name."""
    try:
        return bool(check_batch_id(name))
    except ConfigurationError:
        return False


def folder(path: str) -> str:
    """Where the journal of a shard lies below the root."""
    return f"{path}/journal/"


def segment_key(path: str, seq: int) -> str:
    """Where a segment lies."""
    return f"{folder(path)}{seq:08d}.jsonl"


def snapshots_folder(path: str) -> str:
    """Where the snapshots of a shard lie below the root."""
    return f"{path}/snapshots/"


def snapshot_key(path: str, seq: int) -> str:
    """Where the compaction of all segments up to this one lies."""
    return f"{snapshots_folder(path)}{seq:08d}.jsonl"


def read_journal(store: Store, path: str) -> Reading:
    """Everything the journal says, from the newest readable snapshot on. Raises `StoreError`."""
    reading = _from_snapshot(store, path)
    for _ in read_segments(store, path, reading):
        pass
    report_damage(path, reading)
    return reading


def report_damage(path: str, reading: Reading) -> None:
    """Say in the log what of a journal cannot be read."""
    for damage in reading.damaged:
        logger.error("journal of %s: %s; what it says is used as far as it reads", path, damage)


def read_segments(
    store: Store, path: str, reading: Reading, readers: Executor | None = None
) -> Iterator[list[Entry]]:
    """Take in the segments that follow what was read, and give what each says. Raises `StoreError`.

    Args:
        readers: read several at once, so that all of them are held in memory.
    """
    after = segment_key(path, reading.seq) if reading.seq else None
    keys = (found.key for found in store.list(folder(path), after=after))
    segments = {key: seq for key in keys if (seq := _sequence(key)) is not None}
    read = map(store.read, segments) if readers is None else readers.map(store.read, segments)
    for (key, seq), data in zip(segments.items(), read, strict=True):
        if seq != reading.seq + 1:
            reading.damaged.append(f"segments {reading.seq + 1} to {seq - 1} are missing")
        entries = _take(data, key, seq, reading)
        reading.bytes_since += len(data or b"")
        reading.seq = seq
        yield entries


def _from_snapshot(store: Store, path: str) -> Reading:
    found = (_sequence(each.key) for each in store.list(snapshots_folder(path)))
    kept = [seq for seq in found if seq is not None]
    for seq in reversed(kept):
        key = snapshot_key(path, seq)
        reading = Reading(seq=seq, snapshots=kept)
        data = store.read(key)
        _take(data, key, seq, reading)
        reading.snapshot_bytes = len(data or b"")
        if not reading.damaged:
            return reading
        logger.warning("%s is damaged; an older one, or the whole journal, is read instead", key)
    return Reading(snapshots=kept)


def _sequence(key: str) -> int | None:
    name = key.rpartition("/")[2].removesuffix(".jsonl")
    return int(name) if name.isdigit() else None


def read_on(store: Store, path: str, reading: Reading) -> list[Entry]:
    """Take in what has been written since a journal was read, and return it. Raises `StoreError`."""
    new: list[Entry] = []
    while data := store.read(segment_key(path, reading.seq + 1)):
        reading.seq += 1
        reading.bytes_since += len(data)
        new += _take_segment(data, segment_key(path, reading.seq), reading.seq, reading)
    return new


def _take(data: bytes | None, key: str, seq: int, reading: Reading) -> list[Entry]:
    if data is None:
        reading.damaged.append(f"{key} is gone")
        return []
    return _take_segment(data, key, seq, reading)


def _take_segment(data: bytes, key: str, seq: int, reading: Reading) -> list[Entry]:
    header: Header | None = None
    whole, lines, entries = True, 0, list[Entry]()
    for line in io.BytesIO(data):
        value = unwrap_line(line)
        if value is None:
            whole = False
        elif value.get("kind") == "segment":
            header = _header(value)
        else:
            entry = _entry(value)
            lines += 1
            if isinstance(entry, Standing):
                reading.state.items[entry.item] = entry.state
            else:
                reading.state.apply(entry)
                entries.append(entry)
    if not whole or header is None or (header.seq, header.lines) != (seq, lines):
        reading.damaged.append(f"{key} is torn or altered")
    return entries


def _header(value: dict[str, Any]) -> Header:
    if value.get("format") != FORMAT:
        raise StoreError(f"the journal has format {value.get('format')!r}: a newer version wrote it")
    return Header.model_validate(value)


def _entry(value: dict[str, Any]) -> Entry | Standing:
    """A record; one of a later version is an error, because guessing at it could pay twice."""
    try:
        return to_standing(value) if value.get("kind") == STANDING else to_record(value)
    except ValueError as error:
        raise StoreError(str(error)) from error
