"""A snapshot says what the journal says, in less."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.reading import Entry, read_journal, segment_key, snapshot_key
from prefect_imagine.batches.records import (
    Absent,
    Adopted,
    Created,
    Failed,
    Finished,
    Header,
    Instead,
    NotSent,
    Refused,
    Retry,
    Stored,
    Unanswered,
    Unknown,
    to_line,
)
from prefect_imagine.batches.snapshot import encode_snapshot
from prefect_imagine.batches.state import BatchState, Phase
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.models import GenerationStatus, Output
from tests.batches.journals import AT, blocking, claim, created, intent, memory, opened, segments
from tests.batches.memory_store import InterferedStore, MemoryStore

__all__ = ["blocking", "memory"]


async def test_a_resume_reads_the_snapshot_and_what_follows(memory: MemoryStore, blocking: Blocking) -> None:
    journal = await opened(memory, blocking)
    await journal.append(intent(1))
    await journal.append(created(1))
    await journal.snapshot(force=True)
    await journal.append(intent(2))
    for seq in (1, 2, 3):
        memory.delete(segment_key("b", seq))  # what the snapshot covers is not needed any more
    reading = read_journal(memory, "b")
    assert (reading.seq, reading.damaged) == (4, [])
    assert reading.state.items == journal.state.items


async def test_a_corrupt_snapshot_falls_back(memory: MemoryStore, blocking: Blocking) -> None:
    journal = await opened(memory, blocking)
    await journal.append(intent(1))
    await journal.snapshot(force=True)
    await journal.append(created(1))
    await journal.snapshot(force=True)
    memory.put(snapshot_key("b", 3), (memory.read(snapshot_key("b", 3)) or b"")[:-7])
    reading = read_journal(memory, "b")
    assert (reading.state.items, reading.damaged) == (journal.state.items, [])
    memory.put(snapshot_key("b", 2), b"")
    reading = read_journal(memory, "b")
    assert (reading.state.items, reading.damaged) == (journal.state.items, [])


async def test_what_is_appended_while_a_snapshot_is_written_is_in_the_next_one(
    memory: InterferedStore, blocking: Blocking
) -> None:
    journal = await opened(memory, blocking)
    go_on = threading.Event()
    memory.before = lambda key: "snapshots" in key and go_on.wait(10) and None
    snapshot = asyncio.ensure_future(journal.snapshot(force=True))
    await asyncio.sleep(0)
    await journal.append(intent(1))
    await journal.append(created(1))
    go_on.set()
    await snapshot
    await journal.snapshot(force=True)
    assert read_journal(memory, "b").state.items == journal.state.items


async def test_attempts_that_came_to_nothing_are_not_kept(memory: MemoryStore, blocking: Blocking) -> None:
    journal = await opened(memory, blocking)
    for attempt in range(1, 20):
        refused = Refused(item=1, at=AT, attempt=attempt, final=False, reason="rate_limited", message="no")
        await journal.append(intent(1, attempt), refused)
    await journal.append(intent(1, 20), created(1, 20))
    await journal.snapshot(force=True)
    lines = (memory.read(snapshot_key("b", 21)) or b"").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["segment", "claim", "standing"]


async def test_a_segment_that_lost_its_last_newline_is_compacted_whole(
    memory: MemoryStore, blocking: Blocking
) -> None:
    journal = await opened(memory, blocking)
    await journal.append(intent(1))
    memory.put(segment_key("b", 2), (memory.read(segment_key("b", 2)) or b"").rstrip())
    journal = await opened(memory, blocking)
    await journal.append(intent(2))
    await journal.snapshot(force=True)
    reading = read_journal(memory, "b")
    assert (reading.state.items, reading.damaged) == (journal.state.items, [])
    assert sorted(reading.state.items) == [1, 2]


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """What may happen to a few items, in an order that the engine could write."""
    entries: list[Entry] = [claim()]
    state = BatchState()
    for number in range(draw(st.integers(0, 40))):
        entry = draw(st.sampled_from(followers(state, draw(st.integers(1, 4)), number)))
        state.apply(entry)
        entries.append(entry)
    return entries


def followers(state: BatchState, item: int, number: int) -> list[Entry]:
    """The records that may come next for an item."""
    now = state[item]
    attempt, job = now.attempt, f"job-{number}"
    known = {"item": item, "at": AT}
    done = GenerationStatus.SUCCEEDED
    outputs = (Output(url=f"http://x/{job}"),)
    following: dict[Phase, list[Entry]] = {
        Phase.PLANNED: [
            intent(item, attempt + 1).model_copy(update={"alternative": now.alternative or None})
        ],
        Phase.OPEN: [
            Created(**known, attempt=attempt, id=job, credits=5),
            Adopted(**known, attempt=attempt, id=job),
            Refused(**known, attempt=attempt, final=False, reason="rate_limited", message="slow down"),
            Refused(**known, attempt=attempt, final=True, reason="moderation", message="no"),
            NotSent(**known, attempt=attempt, message="unreachable"),
            Unanswered(**known, attempt=attempt),
            Absent(**known, attempt=attempt),
            Unknown(**known, attempt=attempt, message="who knows"),
        ],
        Phase.CREATED: [
            Finished(**known, id=now.id or "", status=done, outputs=outputs),
            Finished(**known, id=now.id or "", status=GenerationStatus.FAILED, credits=0, refund="full"),
            Failed(**known, reason="vanished", message="gone"),
        ],
        Phase.FINISHED: [
            Stored(**known, outputs=(Output(key="k", bytes=1, sha256="s"),)),
            Failed(**known, reason="output_empty", message="empty"),
        ],
        Phase.FAILED: [Retry(**known), Instead(**known, alternative=min(2, now.alternative + 1))],
        Phase.UNKNOWN: [
            Retry(**known),
            Adopted(**known, attempt=attempt, id=job),
            Absent(**known, attempt=attempt),
            Unknown(**known, attempt=attempt, message="still nobody knows"),
        ],
        Phase.STORED: [claim(f"other-{number}")],
    }
    return following[now.phase]


@settings(deadline=None, max_examples=150)
@given(entries=histories(), cuts=st.lists(st.integers(0, 40), max_size=2, unique=True))
def test_a_snapshot_says_what_a_full_replay_says(entries: list[Entry], cuts: list[int]) -> None:
    store = MemoryStore()
    whole = BatchState()
    for entry in entries:
        whole.apply(entry)

    async def write() -> None:
        blocking = Blocking(patience=1.0, transfers=1)
        journal = await Journal.open(store, blocking, "b", claim())
        for place, entry in enumerate(entries[1:]):
            if place in cuts:
                await journal.snapshot(force=True)
            await journal.append(entry)
        await journal.snapshot(force=True)
        blocking.close()

    asyncio.run(write())
    reading = read_journal(store, "b")
    assert reading.damaged == []
    assert reading.state.items == whole.items
    for key in [found.key for found in store.list("b/snapshots/")]:
        store.delete(key)
    assert read_journal(store, "b").state.items == whole.items


@st.composite
def lives(draw: st.DrawFn) -> list[Entry]:
    """What may happen to one item."""
    entries: list[Entry] = []
    state = BatchState()
    for number in range(draw(st.integers(1, 20))):
        if state[1].phase is Phase.STORED:
            break
        entries.append(draw(st.sampled_from(followers(state, 1, number))))
        state.apply(entries[-1])
    return entries


def cleared_up(times: int) -> list[Entry]:
    """Nobody knew, so many times; then it was known, and the item went on to be retried."""
    unknown = Unknown(item=1, at=AT, attempt=1, message="?")
    absent = Absent(item=1, at=AT, attempt=1)
    refused = Refused(item=1, at=AT, attempt=2, final=True, reason="refused", message="no")
    retry = Retry(item=1, at=AT)
    return [intent(1, 1), *[unknown] * times, absent, intent(1, 2), refused, retry, intent(1, 3)]


@settings(deadline=None, max_examples=200)
@given(entries=lives(), cuts=st.sets(st.integers(0, 19), max_size=3))
@example(entries=cleared_up(1), cuts=set())
@example(entries=cleared_up(2), cuts=set())
@example(entries=cleared_up(1)[:3], cuts=set())
def test_a_snapshot_changes_nothing_about_an_item(entries: list[Entry], cuts: set[int]) -> None:
    live, resumed = BatchState(), BatchState()
    for place, entry in enumerate(entries):
        live.apply(entry)
        resumed.apply(entry)
        if place in cuts:  # a snapshot is taken, and a resume reads it
            resumed = read_again(resumed)
    assert read_again(resumed).items == live.items


def read_again(state: BatchState) -> BatchState:
    """What a resume reads of a snapshot."""
    store = MemoryStore()
    store.put(snapshot_key("b", 1), encode_snapshot(1, "me", claim(), state.items))
    reading = read_journal(store, "b")
    assert reading.damaged == []
    return reading.state


def test_a_snapshot_of_the_first_edition_is_read(memory: MemoryStore) -> None:
    """It holds the records themselves."""
    entries = [claim(), intent(1), created(1), intent(2)]
    lines = [to_line(Header(seq=7, writer="w", lines=4)), *map(to_line, entries)]
    memory.put(snapshot_key("b", 7), b"".join(lines))
    reading = read_journal(memory, "b")
    assert (reading.seq, reading.damaged) == (7, [])
    assert [reading.state[index].phase for index in (1, 2, 3)] == [Phase.CREATED, Phase.OPEN, Phase.PLANNED]


@pytest.mark.parametrize("extra", ['"weight":7,', '"state":{"phase":"stored","weight":7},'])
def test_a_snapshot_of_a_later_version_is_refused(memory: MemoryStore, extra: str) -> None:
    body = f'{{"kind":"standing",{extra}"item":1'
    check = zlib.crc32(body.encode() + b"}")
    line = f'{body},"crc":"{check:08x}"}}\n'.encode()
    memory.put(snapshot_key("b", 1), to_line(Header(seq=1, writer="w", lines=1)) + line)
    with pytest.raises(StoreError, match="standing"):
        read_journal(memory, "b")


async def test_all_snapshots_together_stay_smaller_than_two_journals(
    memory: MemoryStore, blocking: Blocking
) -> None:
    written = 0
    put = memory.put

    def counted(key: str, data: bytes, media_type: str = "") -> None:
        nonlocal written
        written += len(data)
        put(key, data, media_type)

    memory.put = counted  # type: ignore[method-assign]
    journal = await opened(memory, blocking, snapshot_from=2_000)
    for item in range(1, 400):
        await journal.append(intent(item))
        await journal.append(created(item))
        await journal.snapshot()
    log = sum(len(memory.read(key) or b"") for key in segments(memory))
    assert 2_000 < written <= 2 * log
    kept = [found.key for found in memory.list("b/snapshots/")]
    assert len(kept) == 2
    memory.delete(kept[-1])
    memory.put(kept[-2], b"spoilt")
    assert read_journal(memory, "b").state.items == journal.state.items


async def test_snapshots_that_are_asked_for_at_once_are_one(memory: MemoryStore, blocking: Blocking) -> None:
    journal = await opened(memory, blocking, snapshot_from=1_000)
    await journal.append(*(intent(item) for item in range(1, 40)))
    await asyncio.gather(*(journal.snapshot() for _ in range(4)))
    await journal.append(*(intent(item) for item in range(40, 120)))
    await journal.snapshot()
    assert len(list(memory.list("b/snapshots/"))) == 2
