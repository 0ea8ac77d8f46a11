"""The journal: one sequence without gaps that has one writer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.reading import read_journal, segment_key
from prefect_imagine.batches.records import Header, to_line
from prefect_imagine.batches.state import Phase
from prefect_imagine.errors import FencedError, StoreError
from tests.batches.journals import blocking, created, intent, memory, opened, segments
from tests.batches.memory_store import InterferedStore, MemoryStore
from tests.engine.waiting import until

__all__ = ["blocking", "memory"]


async def test_segments_follow_each_other_without_a_gap(memory: MemoryStore, blocking: Blocking) -> None:
    journal = await opened(memory, blocking)
    for item in range(1, 5):
        await journal.append(intent(item))
    assert segments(memory) == [segment_key("b", seq) for seq in range(1, 6)]
    await (await opened(memory, blocking, "other")).append(created(4))
    assert segments(memory)[-1] == segment_key("b", 7)
    reading = read_journal(memory, "b")
    assert (reading.seq, reading.damaged) == (7, [])
    assert reading.state[4].id == "job-4-1"
    assert reading.state[3].phase is Phase.OPEN


async def test_of_two_that_claim_at_once_only_the_later_writes_on(
    memory: InterferedStore, blocking: Blocking
) -> None:
    together = threading.Barrier(2)
    first_puts = iter((True, True))
    memory.before = lambda key: together.wait(10) and None if next(first_puts, False) else None
    journals = await asyncio.gather(*(opened(memory, blocking, who) for who in "ab"))
    assert len(segments(memory)) == 2
    done = await asyncio.gather(*(each.append(intent()) for each in journals), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["FencedError", "NoneType"]


async def test_whoever_is_taken_over_writes_nothing_more(memory: MemoryStore, blocking: Blocking) -> None:
    first = await opened(memory, blocking, "first")
    second = await opened(memory, blocking, "second")
    with pytest.raises(FencedError, match="taken over"):
        await first.append(intent(1))
    assert first.state[1].phase is Phase.PLANNED
    await second.append(intent(1))
    with pytest.raises(FencedError):
        await first.append(intent(2))
    assert read_journal(memory, "b").state[2].phase is Phase.PLANNED


class BusyStore(MemoryStore):
    """Somebody writes a segment to a journal whenever so many have been read."""

    reads = 0
    busy = False

    def read(self, key: str) -> bytes | None:
        found = super().read(key)
        self.reads += 1
        if self.busy and self.reads % 4 == 0:
            seq = len(segments(self)) + 1
            lines = [to_line(Header(seq=seq, writer="busy", lines=1)), to_line(intent(seq))]
            self.put(segment_key("b", seq), b"".join(lines))
        return found


async def test_one_that_writes_quickly_is_taken_over_without_reading_all_again(blocking: Blocking) -> None:
    store = BusyStore()
    first = await opened(store, blocking, "first")
    for item in range(100):
        await first.append(intent(item))
    store.reads, store.busy = 0, True
    second = await opened(store, blocking, "second")
    assert store.reads < 200
    store.busy = False
    await second.append(intent(1))
    reading = read_journal(store, "b")
    assert reading.damaged == []
    assert second.state.items == reading.state.items


async def test_a_write_that_met_itself_is_a_success(memory: InterferedStore, blocking: Blocking) -> None:
    memory.deny = lambda key: True
    journal = await opened(memory, blocking)
    await journal.append(intent())
    await journal.append(created())
    assert journal.state[1].id == read_journal(memory, "b").state[1].id == "job-1-1"


async def test_what_is_appended_during_a_write_goes_into_one_segment(
    memory: InterferedStore, blocking: Blocking
) -> None:
    journal = await opened(memory, blocking)
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


async def test_what_follows_in_a_moment_goes_into_the_same_segment(memory: MemoryStore) -> None:
    blocking = Blocking(patience=5.0, pauses=Pauses(to_gather=1.0))
    journal = await opened(memory, blocking)
    first = asyncio.ensure_future(journal.append(intent(1)))
    await blocking.once(lambda: None)
    await asyncio.gather(first, journal.append(intent(2)))
    blocking.close()
    assert segments(memory) == [segment_key("b", 1), segment_key("b", 2)]


async def test_cancelling_an_append_does_not_take_its_record_back(
    memory: InterferedStore, blocking: Blocking
) -> None:
    journal = await opened(memory, blocking)
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


async def test_flush_waits_for_what_was_just_appended(memory: InterferedStore, blocking: Blocking) -> None:
    journal = await opened(memory, blocking)
    appending = asyncio.ensure_future(journal.append(intent()))
    await asyncio.sleep(0)
    await journal.flush()
    assert read_journal(memory, "b").state[1].phase is Phase.OPEN
    await appending


@pytest.mark.parametrize("ticks", range(5))
async def test_what_is_appended_while_others_flush_is_written(memory: InterferedStore, ticks: int) -> None:
    blocking = Blocking(patience=5.0, pauses=Pauses(to_gather=0.0))
    journal = await opened(memory, blocking)
    go_on = threading.Event()
    memory.before = lambda key: go_on.wait(10) and None
    first = asyncio.ensure_future(journal.append(intent(1)))
    await asyncio.sleep(0)
    flushing = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)
    go_on.set()
    await until(lambda: journal.state[1].phase is Phase.OPEN, every=0.0)
    for _ in range(ticks):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await journal.append(intent(2))
        await asyncio.gather(first, flushing)
    blocking.close()
    assert read_journal(memory, "b").state[2].phase is Phase.OPEN


async def test_a_store_that_fails_for_good_breaks_the_journal(
    memory: InterferedStore, blocking: Blocking
) -> None:
    journal = await opened(memory, blocking)

    def fail(key: str) -> None:
        raise StoreError("the disk is full")

    memory.before = fail
    waiting = [asyncio.ensure_future(journal.append(intent(item))) for item in (1, 2)]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(one) for one in done] == ["the disk is full"] * 2
    memory.before = lambda key: None
    with pytest.raises(StoreError):  # what it believes and what is durable may differ by now
        await journal.append(intent(3))


async def test_an_unexpected_failure_reaches_whoever_waits(
    memory: InterferedStore, blocking: Blocking
) -> None:
    journal = await opened(memory, blocking)

    def fail(key: str) -> None:
        raise RuntimeError("a bug")

    memory.before = fail
    with pytest.raises(RuntimeError, match="a bug"):
        async with asyncio.timeout(5):
            await journal.append(intent())
