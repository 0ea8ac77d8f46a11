"""Processes that share a key: one's look shows the others' jobs, and none of them asks for what it shows."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from typing import TypeVar

from prefect_imagine.batches.accounts.shown import MOST_ROWS, put_look, read_look
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.state import Phase
from prefect_imagine.engine.sharing.looks import SharedLooks
from prefect_imagine.providers.models import Generation, GenerationStatus, Output
from tests.batches.memory_store import InterferedStore
from tests.engine.fake_provider import plan_of
from tests.engine.worlds import World, world

__all__ = ["world"]


T = TypeVar("T")


def second_plan(*prompts: str) -> Plan:
    return plan_of(*prompts, shard=2, first=3)


def row(job: str, *urls: str) -> Generation:
    return Generation(
        provider="imaginelab",
        id=job,
        status=GenerationStatus.SUCCEEDED,
        outputs=tuple(Output(url=url) for url in urls),
        raw={"id": job},
    )


class Changing(Collection[T]):
    """What the event loop may change at any time: no other thread may go through it."""

    def __init__(self, *held: T) -> None:
        self._held = held
        self._loop = threading.get_ident()

    def __iter__(self) -> Iterator[T]:
        assert threading.get_ident() == self._loop, "another thread goes through it"
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, value: object) -> bool:
        return value in self._held


async def test_what_changes_meanwhile_is_not_gone_through_beside_the_event_loop() -> None:
    store, blocking = InterferedStore(), Blocking(patience=5.0)
    await SharedLooks(store, blocking, "key").tell(Changing(row("a"), row("b")), 0.0)
    shown = await SharedLooks(store, blocking, "key").lately(Changing("b", "c"), 60.0)
    await blocking.aclose()
    assert shown is not None
    assert list(shown.rows) == ["b"]


class TestWhatIsTold:
    def test_it_is_read_as_it_was_shown(self) -> None:
        store, rows = InterferedStore(), [row("a/b c", "http://x/1"), row("ü")]
        put_look(store, "key", "other", rows, 1.5)
        shown = read_look(store, "key", "me", ["ü", "a/b c", "d"], 60.0)
        assert shown is not None
        assert shown.rows == {each.id: each.model_copy(update={"raw": {}}) for each in rows}
        assert 1.5 <= shown.age < 60

    def test_ones_own_and_older_ones_say_nothing(self) -> None:
        store = InterferedStore()
        assert read_look(store, "key", "me", ["a"], 60.0) is None
        put_look(store, "key", "me", [row("a")], 0.0)
        assert read_look(store, "key", "me", ["a"], 60.0) is None
        put_look(store, "key", "other", [row("a")], 61.0)
        assert read_look(store, "key", "me", ["a"], 60.0) is None

    def test_what_an_address_holds_itself_is_not_told(self) -> None:
        store = InterferedStore()
        put_look(store, "key", "other", [row("a", "data:image/png;base64,AAAA"), row("b")], 0.0)
        shown = read_look(store, "key", "me", ["a", "b"], 60.0)
        assert shown is not None
        assert list(shown.rows) == ["b"]

    def test_it_has_a_size(self) -> None:
        store = InterferedStore()
        put_look(store, "key", "other", (row(str(number)) for number in range(MOST_ROWS + 9)), 0.0)
        data = store.read(".imagine/looks/key")
        assert data is not None
        assert len(data.splitlines()) == MOST_ROWS + 1

    def test_what_cannot_be_read_is_left_out(self) -> None:
        store = InterferedStore()
        put_look(store, "key", "other", [row("a")], 0.0)
        data = store.read(".imagine/looks/key") or b""
        store.put(".imagine/looks/key", data + b'\nb {"torn')
        shown = read_look(store, "key", "me", ["a", "b"], 60.0)
        assert shown is not None
        assert list(shown.rows) == ["a"]
        store.put(".imagine/looks/key", b"\xff\x00nothing")
        assert read_look(store, "key", "me", ["a"], 60.0) is None


async def test_one_looks_for_all(world: World) -> None:
    first = await world.process(plan_of("a", "b"), shares=True)
    second = await world.process(second_plan("c", "d"), shares=True)
    await first.create(1, 2)
    await second.create(3, 4)
    world.time.now += 60
    await first.look()
    await second.look()
    assert first.phases == second.phases == [Phase.STORED, Phase.STORED]
    assert first.client.requests["poll"] == 1
    assert not second.client.requests["poll"]


async def test_a_job_that_was_not_there_then_is_asked_for_when_it_is_due(world: World) -> None:
    first = await world.process(plan_of("a", "b"), shares=True)
    second = await world.process(second_plan("c", "d"), shares=True)
    await first.create(1)
    await second.create(3)
    world.time.now += 60
    await first.look()
    await second.create(4)
    await second.look()
    assert second.phases == [Phase.STORED, Phase.CREATED], "the look was before it"
    world.time.now += 60
    await second.look()
    assert second.phases == [Phase.STORED, Phase.STORED]
    assert second.client.requests["poll"] == 1


async def test_a_look_is_used_once(world: World) -> None:
    world.store.clock = lambda: world.time.now
    world.server.lasts = 100
    first = await world.process(plan_of("a"), shares=True)
    second = await world.process(second_plan("c"), shares=True)
    await first.create(1)
    await second.create(3)
    world.time.now += 60
    await first.look()
    for _ in range(2):
        await second.look()
        world.time.now += 60
    assert second.client.requests["poll"] == 1, "the second time nobody had looked since"
    assert second.phases == [Phase.STORED]
