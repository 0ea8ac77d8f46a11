"""What is sent with an account is noted under the root: all of it, whoever sends it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from prefect_imagine.batches.accounts.record import (
    AccountRecord,
    change_account_record,
    read_account_records,
)
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.options import Timing
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.collect import collect
from prefect_imagine.engine.collecting.survey import Scope
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.sandbox import RateLimit, RunningSandbox
from prefect_imagine.stores import Store
from tests.batches.memory_store import MemoryStore
from tests.engine.engine_runs import Runs, numbered


def sent(sandbox: RunningSandbox, provider: str) -> int:
    """Requests that a provider's API has been sent; downloads of media are none."""
    counted = sandbox.books.requests[provider]
    return sum(count for operation, count in counted.items() if operation not in ("media", "rate_limited"))


async def test_all_that_is_sent_is_noted(sandbox: RunningSandbox, store: Store) -> None:
    sandbox.configure(rate_limits={"aivisualstudio": RateLimit(20, 2.0, headers=True)})
    runs = Runs(sandbox, store)
    for batch in ("first", "second"):
        await runs.run(numbered("aivisualstudio", 15), batch=batch)
    [record] = read_account_records(store).values()
    assert sum(record.requests.values()) == sent(sandbox, "aivisualstudio")
    assert record.requests["create"] >= 30
    assert (record.limit, record.provider) == (20, "aivisualstudio")
    assert 0 < (record.window or 0) <= 3.5
    assert record.rate_limited == 0


async def test_so_is_what_was_refused_and_what_the_limit_is(sandbox: RunningSandbox, store: Store) -> None:
    sandbox.configure(rate_limits={"imagineapi": RateLimit(10, 2.0, headers=False)})
    await Runs(sandbox, store).run(numbered("imagineapi", 25))
    [record] = read_account_records(store).values()
    assert record.rate_limited >= 1
    assert 1 < (record.limit_per_second or 0) < 10


async def test_so_is_what_is_left(sandbox: RunningSandbox, store: Store) -> None:
    ended = await Runs(sandbox, store).run(numbered("imaginelab", 3))
    [balance] = ended.usage.balances
    [record] = read_account_records(store).values()
    assert record.balance == balance.after
    assert record.balance_at is not None


async def test_whoever_collects_notes_what_it_sends_once(sandbox: RunningSandbox, store: Store) -> None:
    sandbox.configure(latency={"image": (0.1, 0.1)})
    runs = Runs(sandbox, store)
    for batch in ("first", "second"):
        await runs.run(numbered("blockadelabs", 3), batch=batch, detach=True, timing=Timing(settle=0.5))
    for _ in range(20):
        sandbox.advance(60)
        found = await collect(store, runs.accounts, Scope(3))
        if not any(each.running for each in found):
            break
    [record] = read_account_records(store).values()
    assert sum(record.requests.values()) == sent(sandbox, "blockadelabs")


def test_many_may_note_at_once() -> None:
    store = MemoryStore()

    def note(_: int) -> None:
        change_account_record(
            store, "p-1", "p", lambda known: known.with_traffic(Counter(create=1, poll=2), 1)
        )

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(note, range(40)))
    record = read_account_records(store)["p-1"]
    assert (record.requests, record.rate_limited) == ({"create": 40, "poll": 80}, 40)


def test_what_a_repeated_write_has_met_is_its_own() -> None:
    class Repeating(MemoryStore):
        def swap(self, key: str, data: bytes, version: str | None) -> bool:
            super().swap(key, data, version)
            return False

    store = Repeating()
    change_account_record(store, "p-1", "p", lambda known: known.with_traffic({"create": 1}, 0))
    assert read_account_records(store)["p-1"].requests == {"create": 1}


def test_the_longest_that_headers_tell_of_a_window_is_the_window() -> None:
    record = AccountRecord(provider="p").with_limit(Rate(60, 40.0), told=True)
    record = record.with_limit(Rate(60, 20.0), told=True)
    assert record.limit_per_second == 1.5
    assert record.with_limit(Rate(90, 20.0), told=True).limit_per_second == 4.5
    measured = AccountRecord(provider="p").with_limit(Rate(1, 0.5), told=False)
    assert measured.with_limit(Rate(1, 0.25), told=False).limit_per_second == 4


def test_an_older_balance_replaces_no_later_one() -> None:
    now = utc_now()
    record = AccountRecord(provider="p").with_balance(5, now)
    assert record.with_balance(9, now.replace(year=2001)) == record


async def test_what_cannot_be_noted_waits_for_the_next_time(sandbox: RunningSandbox) -> None:
    class Failing(MemoryStore):
        failing = False

        def swap(self, key: str, data: bytes, version: str | None) -> bool:
            if self.failing:
                raise StoreError("gone", retryable=True)
            return super().swap(key, data, version)

    store = Failing()
    runs = Runs(sandbox, MemoryStore())
    blocking = Blocking(patience=1.0)
    async with runs.session(numbered("aivisualstudio", 2)) as session:
        store.failing = True
        await session.traffic.note(store, blocking)
        assert read_account_records(store) == {}
        store.failing = False
        await session.traffic.note(store, blocking)
        await session.traffic.note(store, blocking)
        [record] = read_account_records(store).values()
        assert sum(record.requests.values()) == sum(session.clients["aivisualstudio"].requests.values())
    await blocking.aclose()
