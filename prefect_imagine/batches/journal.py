"""The journal: one gap-free sequence of segments, each written only if absent.

Whoever writes segment n knows that nobody else did, and that all before it are known: that alone keeps two
processes from creating the same item. Records are durable when `append` returns; what is appended while a
segment is being written, or within a moment after that, goes into the next one together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.reading import Entry, Reading, read_journal, read_on, segment_key, snapshot_key
from prefect_imagine.batches.records import Claim, Header, to_line
from prefect_imagine.batches.shards import batch_of
from prefect_imagine.batches.snapshot import encode_snapshot
from prefect_imagine.errors import FencedError
from prefect_imagine.stores import Store

SNAPSHOT_FROM = 64 * 1024
"""Bytes of segments that are worth a snapshot."""
SNAPSHOTS_KEPT = 2
MOST_RECORDS = 1000
CLAIMS = 50
LINES = "application/jsonl"


class Journal:
    """The one writer of a shard's journal. `state` is changed only by what is durable.

    A snapshot is taken when the segments since the last one are as large as that one is: all of them together
    stay below twice the journal, and a reader reads at most about twice what matters.

    Args:
        path: the shard's folder below the root.
        snapshot_from: bytes of segments from which on a snapshot is taken.
    """

    def __init__(
        self,
        store: Store,
        blocking: Blocking,
        path: str,
        token: str,
        reading: Reading,
        *,
        snapshot_from: int = SNAPSHOT_FROM,
    ) -> None:
        self.state = reading.state
        self.damaged = tuple(reading.damaged)
        self._store = store
        self._blocking = blocking
        self._path = path
        self._token = token
        self._known = reading
        self._snapshot_from = snapshot_from
        self._waiting: list[tuple[Sequence[Entry], asyncio.Future[None]]] = []
        self._compacting = asyncio.Lock()
        self._drainer: asyncio.Future[None] | None = None
        self._broken: Exception | None = None

    @classmethod
    async def open(
        cls,
        store: Store,
        blocking: Blocking,
        path: str,
        claim: Claim | Callable[[Claim | None], Claim],
        *,
        snapshot_from: int = SNAPSHOT_FROM,
    ) -> Journal:
        """Read the journal and take the next place in its sequence with a claim.

        Args:
            claim: or what makes one of the claim before it, if there is any.

        Raises `FencedError` if other processes keep taking that place.
        """
        reading = await blocking(read_journal, store, path)
        for attempt in range(1, CLAIMS + 1):
            new = claim(reading.state.claim) if callable(claim) else claim
            journal = cls(store, blocking, path, new.owner, reading, snapshot_from=snapshot_from)
            try:
                await journal.append(new)
            except FencedError:
                # Whoever is being taken over has written on: what it wrote has to be known first.
                if attempt == CLAIMS:
                    raise
                await blocking(read_on, store, path, reading)
            else:
                return journal
        raise AssertionError("the last attempt returns or raises")

    @property
    def seq(self) -> int:
        """The last segment there is."""
        return self._known.seq

    async def append(self, *entries: Entry) -> None:
        """Make records durable. Raises `FencedError` when another process has taken over, and
        `StoreError` when the store stays gone."""
        if self._broken is not None:
            raise self._broken
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, done))
        if self._drainer is None or self._drainer.done():
            self._drainer = asyncio.ensure_future(self._drain())
        # Whoever is cancelled while waiting does not take the record back: it may be durable already.
        await asyncio.shield(done)

    async def flush(self) -> None:
        """Wait until everything appended so far is durable, or cannot be any more."""
        while self._drainer is not None and not self._drainer.done():
            await asyncio.wait([self._drainer])

    async def snapshot(self, *, force: bool = False) -> None:
        """Write down where all items stand, if enough has come since the last time."""
        known = self._known
        due = force or known.bytes_since >= max(self._snapshot_from, known.snapshot_bytes)
        if self._broken is not None or not due or (self._compacting.locked() and not force):
            return
        if self.damaged and not force:
            return  # whoever creates next has to know it, and to write down what may have been lost
        async with self._compacting:
            await self._compact()

    async def _compact(self) -> None:
        known = self._known
        seq, covered = known.seq, known.bytes_since  # more becomes durable while it is written
        data = await self._blocking.once(
            encode_snapshot,
            seq,
            self._token,
            self.state.claim,
            dict(self.state.items),
            [*self.state.obeyed.values()],
        )
        await self._blocking(self._store.put, snapshot_key(self._path, seq), data, LINES)
        known.bytes_since -= covered
        known.snapshot_bytes = len(data)
        known.snapshots = [*(each for each in known.snapshots if each != seq), seq]
        self.damaged = ()
        while len(known.snapshots) > SNAPSHOTS_KEPT:
            await self._blocking(self._store.delete, snapshot_key(self._path, known.snapshots.pop(0)))

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._blocking.pauses.to_gather)
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
        seq = self._known.seq + 1
        key = segment_key(self._path, seq)
        lines = [to_line(entry) for entry in entries]
        data = b"".join([to_line(Header(seq=seq, writer=self._token, lines=len(lines))), *lines])
        written = await self._blocking(self._store.put_new, key, data, LINES)
        # A write whose answer was lost has been repeated by the client, and met itself.
        if not written and await self._blocking(self._store.read, key) != data:
            raise FencedError(
                f"batch {batch_of(self._path)!r} has been taken over by another process; this one has stopped"
            )
        self._known.seq = seq
        self._known.bytes_since += len(data)
        for entry in entries:
            self.state.apply(entry)


def _fail(done: asyncio.Future[None], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # an append that was cancelled has nobody left to retrieve it
