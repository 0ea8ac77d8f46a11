"""The journal: one gap-free sequence of segments, each written only if absent.

Whoever writes segment n knows that nobody else did, and that all before it are known: that alone keeps two
processes from creating the same item. Records are durable when `append` returns; what is appended while a
segment is being written goes into the next one together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prefect_imagine.batches.offload import Offload
from prefect_imagine.batches.records import (
    FORMAT,
    AnyItemRecord,
    Claim,
    Header,
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


@dataclass
class Reading:
    """What a journal says.

    Attributes:
        seq: the last segment there is; 0 for none.
        damaged: segments that could not be read whole.
    """

    state: BatchState = field(default_factory=BatchState)
    seq: int = 0
    history: list[Entry] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


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
    header, entries, whole = parse_segment(data)
    for entry in entries:
        reading.history.append(entry)
        reading.state.apply(entry)
    if not whole or header is None or (header.seq, header.lines) != (seq, len(entries)):
        reading.damaged.append(f"{key} is torn or altered")


def parse_segment(data: bytes) -> tuple[Header | None, list[Entry], bool]:
    """A segment's header and readable records, and whether all of its lines could be read.

    Raises `StoreError` for a record of a later version: guessing at it could pay twice.
    """
    header: Header | None = None
    entries: list[Entry] = []
    whole = True
    for line in data.splitlines():
        value = unwrap_line(line)
        if value is None:
            whole = False
        elif value.get("kind") == "segment":
            if value.get("format") != FORMAT:
                raise StoreError(f"the journal has format {value.get('format')!r}: a newer version wrote it")
            header = Header.model_validate(value)
        else:
            try:
                entries.append(to_record(value))
            except ValueError as error:
                raise StoreError(str(error)) from error
    return header, entries, whole


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
        self._past: list[Entry] = reading.history
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
        seq, known = self._seq, len(self._past)
        entries = list(_compacted(self._past))
        data = _segment(seq, self._token, entries)
        await self._offload(self._store.put, snapshot_key(self._batch_id, seq), data, LINES)
        # More has become durable meanwhile.
        self._past = entries + self._past[known:]
        self._snapshot = seq

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
        data = _segment(seq, self._token, entries)
        written = await self._offload(self._store.put_new, key, data, LINES)
        # A write whose answer was lost has been repeated by the client, and met itself.
        if not written and await self._offload(self._store.read, key) != data:
            raise FencedError(
                f"batch {self._batch_id!r} has been taken over by another process; this one has stopped"
            )
        self._seq = seq
        self._past.extend(entries)
        for entry in entries:
            self.state.apply(entry)


def _fail(done: asyncio.Future[None], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # an append that was cancelled has nobody left to retrieve it


def _segment(seq: int, writer: str, entries: Sequence[Entry]) -> bytes:
    header = Header(seq=seq, writer=writer, lines=len(entries))
    return b"".join([to_line(header), *(to_line(entry) for entry in entries)])


def _compacted(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The records that still matter: of a stored item, its jobs, their ends and its outputs."""
    kept = list(entries)
    last_intent = {entry.item: place for place, entry in enumerate(kept) if entry.kind == "intent"}
    last_claim = max((place for place, entry in enumerate(kept) if isinstance(entry, Claim)), default=-1)
    for place, entry in enumerate(kept):
        if isinstance(entry, Claim):
            if place == last_claim:
                yield entry
        elif entry.kind in ("intent", "refused", "not_sent", "absent") and place < last_intent.get(
            entry.item, 0
        ):
            continue
        else:
            yield entry
