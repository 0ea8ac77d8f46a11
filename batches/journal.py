"""The journal: one gap-free sequence of segments, each written only if absent.

Whoever writes segment n knows that nobody else did, and that all before it are known: that alone keeps two
processes from creating the same item. Records are durable when `append` returns; what is appended while a
segment is being written goes into the next one together.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect_imagine.batches.offload import Offload
from prefect_imagine.batches.records import (
    FORMAT,
    AnyItemRecord,
    Claim,
    Header,
    Intent,
    to_line,
    to_record,
    unwrap_line,
)
from prefect_imagine.batches.state import BatchState
from prefect_imagine.errors import FencedError, StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

SNAPSHOT_EVERY = 200
MOST_RECORDS = 1000
CLAIMS = 20
LINES = "application/jsonl"
Entry = Claim | AnyItemRecord
_OF_ONE_ATTEMPT = frozenset({"intent", "refused", "not_sent", "absent"})


class Past:
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
    past: Past = field(default_factory=Past)
    damaged: list[str] = field(default_factory=list)

    def take(self, entry: Entry, line: bytes) -> None:
        """Take one record in."""
        self.past.add(entry, line)
        self.state.apply(entry)


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


def _read_segment(store: Store, key: str, seq: int, reading: Reading) -> None:
    data = store.read(key)
    if data is None:
        reading.damaged.append(f"{key} is gone")
        return
    header: Header | None = None
    whole, lines = True, 0
    for line in io.BytesIO(data):
        value = unwrap_line(line)
        if value is None:
            whole = False
        elif value.get("kind") == "segment":
            header = _header(value)
        else:
            reading.take(_entry(value), line.rstrip(b"\n") + b"\n")  # the last may have lost its end
            lines += 1
    if not whole or header is None or (header.seq, header.lines) != (seq, lines):
        reading.damaged.append(f"{key} is torn or altered")


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


class Journal:
    """The one writer of a batch's journal. `state` is changed only by what is durable."""

    def __init__(self, store: Store, offload: Offload, batch_id: str, token: str, reading: Reading) -> None:
        self.state = reading.state
        self.damaged = tuple(reading.damaged)
        self._store = store
        self._offload = offload
        self._batch_id = batch_id
        self._token = token
        self._seq = reading.seq
        self._snapshot = reading.seq
        self._past = reading.past
        self._waiting: list[tuple[Sequence[Entry], asyncio.Future[None]]] = []
        self._writing = asyncio.Lock()
        self._drainer: asyncio.Future[None] | None = None
        self._broken: Exception | None = None

    @classmethod
    async def open(cls, store: Store, offload: Offload, batch_id: str, claim: Claim) -> Journal:
        """Read the journal and take the next place in its sequence with a claim.

        Raises `FencedError` if other processes keep taking that place.
        """
        for attempt in range(1, CLAIMS + 1):
            reading = await offload(read_journal, store, batch_id)
            journal = cls(store, offload, batch_id, claim.owner, reading)
            try:
                await journal.append(claim)
            except FencedError:
                # Whoever is being taken over has written on: what it wrote has to be known first.
                if attempt == CLAIMS:
                    raise
            else:
                return journal
        raise AssertionError("the last attempt returns or raises")

    async def append(self, *entries: Entry) -> None:
        """Make records durable. Raises `FencedError` when another process has taken over, and
        `StoreError` when the store stays gone."""
        if self._broken is not None:
            raise self._broken
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, done))
        if not self._writing.locked():
            self._drainer = asyncio.ensure_future(self._drain())
        # Whoever is cancelled while waiting does not take the record back: it may be durable already.
        await asyncio.shield(done)

    async def flush(self) -> None:
        """Wait until everything appended so far is durable, or cannot be any more."""
        while self._waiting or self._writing.locked():
            async with self._writing:
                await asyncio.sleep(0)

    async def snapshot(self, *, force: bool = False) -> None:
        """Compact what is known, if enough has come since the last time."""
        if self._broken is not None or (self._seq - self._snapshot < SNAPSHOT_EVERY and not force):
            return
        if self.damaged and not force:
            return  # whoever creates next has to know it, and to write down what may have been lost
        seq = self._seq  # more becomes durable while it is written
        data = _segment(seq, self._token, self._past.lines())
        await self._offload(self._store.put, snapshot_key(self._batch_id, seq), data, LINES)
        self._snapshot = seq
        self.damaged = ()

    async def _drain(self) -> None:
        async with self._writing:
            while self._waiting:
                batch = self._take()
                entries = [entry for part, _ in batch for entry in part]
                try:
                    await self._write(entries)
                except Exception as error:  # whatever it is, nobody may wait for ever
                    self._broken = error
                    for _, done in [*batch, *self._waiting]:
                        _fail(done, error)
                    self._waiting.clear()
                    return
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)

    def _take(self) -> list[tuple[Sequence[Entry], asyncio.Future[None]]]:
        batch, self._waiting = self._waiting[:MOST_RECORDS], self._waiting[MOST_RECORDS:]
        return batch

    async def _write(self, entries: list[Entry]) -> None:
        seq = self._seq + 1
        key = segment_key(self._batch_id, seq)
        lines = [to_line(entry) for entry in entries]
        data = _segment(seq, self._token, lines)
        written = await self._offload(self._store.put_new, key, data, LINES)
        # A write whose answer was lost has been repeated by the client, and met itself.
        if not written and await self._offload(self._store.read, key) != data:
            raise FencedError(
                f"batch {self._batch_id!r} has been taken over by another process; this one has stopped"
            )
        self._seq = seq
        for entry, line in zip(entries, lines, strict=True):
            self._past.add(entry, line)
            self.state.apply(entry)


def _fail(done: asyncio.Future[None], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # an append that was cancelled has nobody left to retrieve it


def _segment(seq: int, writer: str, lines: Sequence[bytes]) -> bytes:
    return b"".join([to_line(Header(seq=seq, writer=writer, lines=len(lines))), *lines])
