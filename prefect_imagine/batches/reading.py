"""What a journal says: all records from the newest readable snapshot on, as far as they read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.batches.records import (
    FORMAT,
    AnyItemRecord,
    Claim,
    Header,
    Intent,
    to_record,
    unwrap_line,
)
from prefect_imagine.batches.state import BatchState
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

Entry = Claim | AnyItemRecord
_OF_ONE_ATTEMPT = frozenset({"intent", "refused", "not_sent", "absent"})


class Compaction:
    """The records that still matter, as the lines that they are written as: the last claim, of each item
    its last attempt, and of earlier ones what they have or may have cost."""

    def __init__(self) -> None:
        self._claim = b""
        self._items: dict[int, list[tuple[str, bytes]]] = {}

    def add(self, entry: Entry, line: bytes) -> None:
        """Keep a record, and forget those that it makes pointless."""
        if isinstance(entry, Claim):
            self._claim = line
            return
        kept = self._items.setdefault(entry.item, [])
        if isinstance(entry, Intent):
            if kept and kept[-1][0] == "absent":  # what was unknown before has been cleared up
                del kept[-1]
                while kept and kept[-1][0] == "unknown":
                    del kept[-1]
            kept[:] = [known for known in kept if known[0] not in _OF_ONE_ATTEMPT]
        kept.append((entry.kind, line))

    def lines(self) -> list[bytes]:
        """All of them; those of one item are in order."""
        of_items = [line for kept in self._items.values() for _, line in kept]
        return [self._claim, *of_items] if self._claim else of_items


@dataclass
class Reading:
    """What a journal says.

    Attributes:
        seq: the last segment there is; 0 for none.
        damaged: segments that could not be read whole.
    """

    state: BatchState = field(default_factory=BatchState)
    seq: int = 0
    past: Compaction = field(default_factory=Compaction)
    damaged: list[str] = field(default_factory=list)

    def take(self, entry: Entry, line: bytes) -> None:
        """Take one record in."""
        self.past.add(entry, line)
        self.state.apply(entry)


def possible_batches(store: Store) -> Iterator[str]:
    """The folders under a root that may be batches, ascending: others may lie there too, under names that no
    batch has. Raises `StoreError`."""
    return filter(_may_be_batch, store.folders(""))


def _may_be_batch(name: str) -> bool:
    try:
        return bool(check_batch_id(name))
    except ConfigurationError:
        return False


def folder(batch_id: str) -> str:
    """Where a batch's journal lies below the root."""
    return f"{batch_id}/journal/"


def segment_key(batch_id: str, seq: int) -> str:
    """Where a segment lies."""
    return f"{folder(batch_id)}{seq:08d}.jsonl"


def snapshot_key(batch_id: str, seq: int) -> str:
    """Where the compaction of all segments up to this one lies."""
    return f"{batch_id}/snapshots/{seq:08d}.jsonl"


def read_journal(store: Store, batch_id: str) -> Reading:
    """Everything the journal says, from the newest readable snapshot on. Raises `StoreError`."""
    reading = _from_snapshot(store, batch_id)
    after = segment_key(batch_id, reading.seq) if reading.seq else None
    for found in store.list(folder(batch_id), after=after):
        seq = _sequence(found.key)
        if seq is None:
            continue
        if seq != reading.seq + 1:
            reading.damaged.append(f"segments {reading.seq + 1} to {seq - 1} are missing")
        _read_segment(store, found.key, seq, reading)
        reading.seq = seq
    for damage in reading.damaged:
        logger.error("journal of %s: %s; what it says is used as far as it reads", batch_id, damage)
    return reading


def _from_snapshot(store: Store, batch_id: str) -> Reading:
    keys = [found.key for found in store.list(f"{batch_id}/snapshots/")]
    for key in reversed(keys):
        reading = Reading(seq=_sequence(key) or 0)
        _read_segment(store, key, reading.seq, reading)
        if not reading.damaged:
            return reading
        logger.warning("%s is damaged; an older one, or the whole journal, is read instead", key)
    return Reading()


def _sequence(key: str) -> int | None:
    name = key.rpartition("/")[2].removesuffix(".jsonl")
    return int(name) if name.isdigit() else None


def read_on(store: Store, batch_id: str, reading: Reading) -> list[Entry]:
    """Take in what has been written since a journal was read, and return it. Raises `StoreError`."""
    new: list[Entry] = []
    while data := store.read(segment_key(batch_id, reading.seq + 1)):
        reading.seq += 1
        new += _take_segment(data, segment_key(batch_id, reading.seq), reading.seq, reading)
    return new


def _read_segment(store: Store, key: str, seq: int, reading: Reading) -> None:
    data = store.read(key)
    if data is None:
        reading.damaged.append(f"{key} is gone")
    else:
        _take_segment(data, key, seq, reading)


def _take_segment(data: bytes, key: str, seq: int, reading: Reading) -> list[Entry]:
    header: Header | None = None
    whole, entries = True, list[Entry]()
    for line in io.BytesIO(data):
        value = unwrap_line(line)
        if value is None:
            whole = False
        elif value.get("kind") == "segment":
            header = _header(value)
        else:
            entries.append(_entry(value))
            reading.take(entries[-1], line.rstrip(b"\n") + b"\n")  # the last may have lost its end
    if not whole or header is None or (header.seq, header.lines) != (seq, len(entries)):
        reading.damaged.append(f"{key} is torn or altered")
    return entries


def _header(value: dict[str, Any]) -> Header:
    if value.get("format") != FORMAT:
        raise StoreError(f"the journal has format {value.get('format')!r}: a newer version wrote it")
    return Header.model_validate(value)


def _entry(value: dict[str, Any]) -> Entry:
    """A record; one of a later version is an error, because guessing at it could pay twice."""
    try:
        return to_record(value)
    except ValueError as error:
        raise StoreError(str(error)) from error
