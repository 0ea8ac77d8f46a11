"""The journal: one sequence without gaps that has one writer, and that damage cannot silence."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefect_imagine.batches import journal as journals
from prefect_imagine.batches.journal import Entry, Journal, Past, read_journal, segment_key, snapshot_key
from prefect_imagine.batches.offload import Offload
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.records import (
    Absent,
    Adopted,
    Claim,
    Created,
    Failed,
    Finished,
    Intent,
    NotSent,
    Refused,
    Retry,
    Stored,
    Unknown,
    to_line,
    to_record,
    unwrap_line,
)
from prefect_imagine.batches.state import BatchState, Phase
from prefect_imagine.errors import FencedError, StoreError
from prefect_imagine.providers.models import GenerationStatus, Output
from prefect_imagine.stores import Downloader, Store
from tests.batches.fake_provider import REFUSED, FakeProvider, moved_time, plan_of
from tests.batches.memory_store import InterferedStore, MemoryStore
from tests.batches.one_process import TIMING, Process

AT = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def offload() -> Iterator[Offload]:
    found = Offload(patience=5.0)
    yield found
    found.close()


@pytest.fixture
def memory() -> InterferedStore:
    return InterferedStore()


def claim(owner: str = "me") -> Claim:
    return Claim(owner=owner, host="here", at=AT)


def intent(item: int = 1, attempt: int = 1) -> Intent:
    return Intent(item=item, at=AT, attempt=attempt, provider_at=AT, boot="b", boot_at=1.0)


def created(item: int = 1, attempt: int = 1) -> Created:
    return Created(item=item, at=AT, attempt=attempt, id=f"job-{item}-{attempt}", credits=5)


async def opened(store: Store, offload: Offload, owner: str = "me") -> Journal:
    return await Journal.open(store, offload, "b", claim(owner))


def segments(store: Store) -> list[str]:
    return [found.key for found in store.list("b/journal/")]


async def test_segments_follow_each_other_without_a_gap(memory: MemoryStore, offload: Offload) -> None:
    journal = await opened(memory, offload)
    for item in range(1, 5):
        await journal.append(intent(item))
    assert segments(memory) == [segment_key("b", seq) for seq in range(1, 6)]
    await (await opened(memory, offload, "other")).append(created(4))
    assert segments(memory)[-1] == segment_key("b", 7)
    reading = read_journal(memory, "b")
    assert (reading.seq, reading.damaged) == (7, [])
    assert reading.state[4].id == "job-4-1"
    assert reading.state[3].phase is Phase.OPEN


async def test_of_two_that_claim_at_once_only_the_later_writes_on(
    memory: InterferedStore, offload: Offload
) -> None:
    together = threading.Barrier(2)
    first_puts = iter((True, True))
    memory.before = lambda key: together.wait(10) and None if next(first_puts, False) else None
    journals = await asyncio.gather(*(opened(memory, offload, who) for who in "ab"))
    assert len(segments(memory)) == 2
    done = await asyncio.gather(*(each.append(intent()) for each in journals), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["FencedError", "NoneType"]


async def test_whoever_is_taken_over_writes_nothing_more(memory: MemoryStore, offload: Offload) -> None:
    first = await opened(memory, offload, "first")
    second = await opened(memory, offload, "second")
    with pytest.raises(FencedError, match="taken over"):
        await first.append(intent(1))
    assert first.state[1].phase is Phase.PLANNED
    await second.append(intent(1))
    with pytest.raises(FencedError):
        await first.append(intent(2))
    assert read_journal(memory, "b").state[2].phase is Phase.PLANNED


async def test_a_write_that_met_itself_is_a_success(memory: InterferedStore, offload: Offload) -> None:
    memory.deny = lambda key: True
    journal = await opened(memory, offload)
    await journal.append(intent())
    await journal.append(created())
    assert journal.state[1].id == read_journal(memory, "b").state[1].id == "job-1-1"


async def test_what_is_appended_during_a_write_goes_into_one_segment(
    memory: InterferedStore, offload: Offload
) -> None:
    journal = await opened(memory, offload)
    go_on = threading.Event()
    memory.before = lambda key: go_on.wait(10) and None
    first = asyncio.ensure_future(journal.append(intent(1)))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(journal.append(intent(item))) for item in range(2, 50)]
    await asyncio.sleep(0)
    assert journal.state[1].phase is Phase.PLANNED, "nothing counts before it is durable"
    go_on.set()
    await asyncio.gather(first, *others)
    assert len(segments(memory)) <= 3
    state = read_journal(memory, "b").state
    assert all(state[item].phase is Phase.OPEN for item in range(1, 50))


async def test_cancelling_an_append_does_not_take_its_record_back(
    memory: InterferedStore, offload: Offload
) -> None:
    journal = await opened(memory, offload)
    go_on = threading.Event()
    memory.before = lambda key: go_on.wait(10) and None
    waiting = [asyncio.ensure_future(journal.append(intent(item))) for item in (1, 2)]
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    go_on.set()
    await journal.append(intent(3))
    for state in (journal.state, read_journal(memory, "b").state):
        assert [state[item].phase for item in (1, 2, 3)] == [Phase.OPEN] * 3


async def test_flush_waits_for_what_was_just_appended(memory: InterferedStore, offload: Offload) -> None:
    journal = await opened(memory, offload)
    appending = asyncio.ensure_future(journal.append(intent()))
    await asyncio.sleep(0)
    await journal.flush()
    assert read_journal(memory, "b").state[1].phase is Phase.OPEN
    await appending


async def test_a_store_that_fails_for_good_breaks_the_journal(
    memory: InterferedStore, offload: Offload
) -> None:
    journal = await opened(memory, offload)

    def fail(key: str) -> None:
        raise StoreError("the disk is full")

    memory.before = fail
    waiting = [asyncio.ensure_future(journal.append(intent(item))) for item in (1, 2)]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(one) for one in done] == ["the disk is full"] * 2
    memory.before = lambda key: None
    with pytest.raises(StoreError):  # what it believes and what is durable may differ by now
        await journal.append(intent(3))


async def test_an_unexpected_failure_reaches_whoever_waits(memory: InterferedStore, offload: Offload) -> None:
    journal = await opened(memory, offload)

    def fail(key: str) -> None:
        raise RuntimeError("a bug")

    memory.before = fail
    with pytest.raises(RuntimeError, match="a bug"):
        async with asyncio.timeout(5):
            await journal.append(intent())


class TestDamage:
    """A journal of four segments: a claim, two intents, and what became of the second."""

    @pytest.fixture
    async def journal(self, memory: MemoryStore, offload: Offload) -> MemoryStore:
        journal = await opened(memory, offload)
        await journal.append(intent(1), intent(2))
        await journal.append(created(1), created(2))
        await journal.append(Absent(item=3, at=AT, attempt=1))
        return memory

    def test_a_whole_journal_is_not_damaged(self, journal: MemoryStore) -> None:
        assert read_journal(journal, "b").damaged == []

    @pytest.mark.parametrize("cut", [2, 10, 40])
    def test_a_torn_segment_is_used_as_far_as_it_reads(
        self, journal: MemoryStore, cut: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = segment_key("b", 3)
        journal.put(key, (journal.read(key) or b"")[:-cut])
        reading = read_journal(journal, "b")
        assert len(reading.damaged) == 1
        assert "torn or altered" in reading.damaged[0]
        assert reading.damaged[0] in caplog.text
        assert [reading.state[item].phase for item in (1, 2)] == [Phase.CREATED, Phase.OPEN]
        assert reading.seq == 4

    def test_a_segment_that_lost_whole_lines_is_damaged(self, journal: MemoryStore) -> None:
        key = segment_key("b", 3)
        lines = (journal.read(key) or b"").splitlines(keepends=True)
        journal.put(key, b"".join(lines[:-1]))
        reading = read_journal(journal, "b")
        assert len(reading.damaged) == 1
        assert reading.state[2].phase is Phase.OPEN

    @pytest.mark.parametrize("place", range(0, 200, 13))
    def test_any_altered_byte_is_noticed(self, journal: MemoryStore, place: int) -> None:
        key = segment_key("b", 2)
        data = bytearray(journal.read(key) or b"")
        data[place] ^= 1
        journal.put(key, bytes(data))
        assert len(read_journal(journal, "b").damaged) == 1

    def test_an_empty_segment_is_noticed(self, journal: MemoryStore) -> None:
        journal.put(segment_key("b", 2), b"")
        reading = read_journal(journal, "b")
        assert len(reading.damaged) == 1
        assert reading.state[1].phase is Phase.CREATED

    def test_a_missing_segment_is_noticed(self, journal: MemoryStore) -> None:
        journal.delete(segment_key("b", 2))
        assert read_journal(journal, "b").damaged == ["segments 2 to 2 are missing"]

    def test_a_segment_in_anothers_place_is_noticed(self, journal: MemoryStore) -> None:
        journal.put(segment_key("b", 2), journal.read(segment_key("b", 4)) or b"")
        assert len(read_journal(journal, "b").damaged) == 1

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"format":1', b'"format":2'),
            (b'"kind":"intent"', b'"kind":"dream"'),
            (b'"attempt":1', b'"attempt":1,"mood":"good"'),
        ],
    )
    def test_what_a_later_version_wrote_is_refused(
        self, journal: MemoryStore, old: bytes, new: bytes
    ) -> None:
        key = segment_key("b", 2)
        lines = (journal.read(key) or b"").replace(old, new).splitlines()
        journal.put(key, b"".join(resealed(line) for line in lines))
        with pytest.raises(StoreError):
            read_journal(journal, "b")

    async def test_a_damaged_journal_can_be_written_on(self, journal: MemoryStore, offload: Offload) -> None:
        journal.put(segment_key("b", 3), b"?")
        again = await opened(journal, offload, "again")
        assert len(again.damaged) == 1
        await again.snapshot(force=True)
        assert read_journal(journal, "b").damaged == [], "a snapshot heals it"

    async def test_only_a_forced_snapshot_settles_damage(
        self, journal: MemoryStore, offload: Offload, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever only looks does not write down what may have been lost; whoever creates next has to."""
        monkeypatch.setattr(journals, "SNAPSHOT_EVERY", 1)
        journal.put(segment_key("b", 3), b"?")
        looking = await opened(journal, offload, "looking")
        await looking.append(intent(9))
        await looking.snapshot()
        assert list(journal.list("b/snapshots/")) == []
        assert len(read_journal(journal, "b").damaged) == 1
        creating = await opened(journal, offload, "creating")
        await creating.snapshot(force=True)
        assert (creating.damaged, read_journal(journal, "b").damaged) == ((), [])
        await creating.append(intent(10))
        await creating.snapshot()
        assert len(list(journal.list("b/snapshots/"))) == 2, "from then on they are taken as ever"


async def test_a_retry_that_a_damaged_journal_has_lost_is_not_paid_for_again(offload: Offload) -> None:
    store, plan, downloader = MemoryStore(), plan_of("a"), Downloader()
    with moved_time() as time:
        server = FakeProvider(time)
        server.fates.append(REFUSED)

        async def started() -> Process:
            options = BatchOptions(timing=TIMING, retry_failed=True)
            return await Process.start(store, offload, plan, server, downloader, options=options)

        await (await started()).create(1)
        refused = len(segments(store))
        await (await started()).create(1)
        for key in segments(store)[refused:]:
            store.put(key, b"")
        process = await started()
        assert process.phases == [Phase.OPEN]
        assert read_journal(store, "b").damaged == []
        time.now += 5
        await process.look_back()
        assert process.phases == [Phase.CREATED]
        assert server.accepted() == {"a": 1}
    downloader.close()


def resealed(line: bytes) -> bytes:
    """A changed line with a right checksum."""
    body = re.sub(rb',"crc":"[0-9a-f]{8}"\}$', b"}", line)
    return body[:-1] + f',"crc":"{zlib.crc32(body):08x}"}}\n'.encode()


async def test_a_resume_reads_the_snapshot_and_what_follows(memory: MemoryStore, offload: Offload) -> None:
    journal = await opened(memory, offload)
    await journal.append(intent(1))
    await journal.append(created(1))
    await journal.snapshot(force=True)
    await journal.append(intent(2))
    for seq in (1, 2, 3):
        memory.delete(segment_key("b", seq))  # what the snapshot covers is not needed any more
    reading = read_journal(memory, "b")
    assert (reading.seq, reading.damaged) == (4, [])
    assert reading.state.items == journal.state.items


async def test_a_corrupt_snapshot_falls_back(memory: MemoryStore, offload: Offload) -> None:
    journal = await opened(memory, offload)
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
    memory: InterferedStore, offload: Offload
) -> None:
    journal = await opened(memory, offload)
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


async def test_attempts_that_came_to_nothing_are_not_kept(memory: MemoryStore, offload: Offload) -> None:
    journal = await opened(memory, offload)
    for attempt in range(1, 20):
        refused = Refused(item=1, at=AT, attempt=attempt, final=False, reason="rate_limited", message="no")
        await journal.append(intent(1, attempt), refused)
    await journal.append(intent(1, 20), created(1, 20))
    await journal.snapshot(force=True)
    lines = (memory.read(snapshot_key("b", 21)) or b"").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["segment", "claim", "intent", "created"]


async def test_a_segment_that_lost_its_last_newline_is_compacted_whole(
    memory: MemoryStore, offload: Offload
) -> None:
    journal = await opened(memory, offload)
    await journal.append(intent(1))
    memory.put(segment_key("b", 2), (memory.read(segment_key("b", 2)) or b"").rstrip())
    journal = await opened(memory, offload)
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
        Phase.PLANNED: [intent(item, attempt + 1)],
        Phase.OPEN: [
            Created(**known, attempt=attempt, id=job, credits=5),
            Adopted(**known, attempt=attempt, id=job),
            Refused(**known, attempt=attempt, final=False, reason="rate_limited", message="slow down"),
            Refused(**known, attempt=attempt, final=True, reason="moderation", message="no"),
            NotSent(**known, attempt=attempt, message="unreachable"),
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
        Phase.FAILED: [Retry(**known)],
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
        offload = Offload(patience=1.0, transfers=1)
        journal = await Journal.open(store, offload, "b", claim())
        for place, entry in enumerate(entries[1:]):
            if place in cuts:
                await journal.snapshot(force=True)
            await journal.append(entry)
        await journal.snapshot(force=True)
        offload.close()

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
def test_compaction_changes_nothing_about_an_item(entries: list[Entry], cuts: set[int]) -> None:
    live, past = BatchState(), Past()
    for place, entry in enumerate(entries):
        live.apply(entry)
        past.add(entry, to_line(entry))
        if place in cuts:  # a snapshot is taken, and a resume reads it
            past = compacted(past)[1]
    assert compacted(past)[0].items == live.items


def compacted(past: Past) -> tuple[BatchState, Past]:
    """What a resume reads of a compaction."""
    state, again = BatchState(), Past()
    for line in past.lines():
        entry = to_record(unwrap_line(line) or {})
        state.apply(entry)
        again.add(entry, line)
    return state, again
