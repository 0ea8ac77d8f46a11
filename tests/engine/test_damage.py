"""A damaged journal is used as far as it reads, and never silences what was paid for."""

from __future__ import annotations

import re
import zlib

import pytest

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.reading import read_journal, segment_key
from prefect_imagine.batches.records import (
    Absent,
)
from prefect_imagine.batches.state import Phase
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Downloader
from tests.batches.journals import AT, blocking, created, intent, memory, opened, segments
from tests.batches.memory_store import MemoryStore
from tests.engine.fake_provider import REFUSED, FakeProvider, moved_time, plan_of
from tests.engine.one_process import TIMING, Process

__all__ = ["blocking", "memory"]


class TestDamage:
    """A journal of four segments: a claim, two intents, and what became of the second."""

    @pytest.fixture
    async def journal(self, memory: MemoryStore, blocking: Blocking) -> MemoryStore:
        journal = await opened(memory, blocking)
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

    async def test_a_damaged_journal_can_be_written_on(
        self, journal: MemoryStore, blocking: Blocking
    ) -> None:
        journal.put(segment_key("b", 3), b"?")
        again = await opened(journal, blocking, "again")
        assert len(again.damaged) == 1
        await again.snapshot(force=True)
        assert read_journal(journal, "b").damaged == [], "a snapshot heals it"

    async def test_only_a_forced_snapshot_settles_damage(
        self, journal: MemoryStore, blocking: Blocking
    ) -> None:
        """Whoever only looks does not write down what may have been lost; whoever creates next has to."""
        journal.put(segment_key("b", 3), b"?")
        looking = await opened(journal, blocking, "looking", snapshot_from=1)
        await looking.append(intent(9))
        await looking.snapshot()
        assert list(journal.list("b/snapshots/")) == []
        assert len(read_journal(journal, "b").damaged) == 1
        creating = await opened(journal, blocking, "creating", snapshot_from=1)
        await creating.snapshot(force=True)
        assert (creating.damaged, read_journal(journal, "b").damaged) == ((), [])
        await creating.append(*(intent(item) for item in range(10, 30)))
        await creating.snapshot()
        assert len(list(journal.list("b/snapshots/"))) == 2, "from then on they are taken as ever"


async def test_a_retry_that_a_damaged_journal_has_lost_is_not_paid_for_again(
    blocking: Blocking,
) -> None:
    store, plan, downloader = MemoryStore(), plan_of("a"), Downloader()
    with moved_time() as time:
        server = FakeProvider(time)
        server.fates.append(REFUSED)

        async def started() -> Process:
            options = BatchOptions(timing=TIMING, retry_failed=True)
            return await Process.start(store, blocking, plan, server, downloader, options=options)

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
