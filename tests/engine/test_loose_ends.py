"""Amendments that meet, and what runs leave that were killed, or told of a change, in the middle of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from prefect_imagine.batches.index import SETTLED, read_index
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.origin import Origin, write_origin
from prefect_imagine.batches.plan import write_plan
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.root import books_since
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.persist import again_if_amended, persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.reports.books import settle_books
from prefect_imagine.sandbox import FaultRule
from tests.engine.engine_runs import Runs, numbered, rows_of
from tests.engine.test_desired_state import prepared, states
from tests.engine.waiting import until


async def test_whoever_amends_second_compares_again(runs: Runs) -> None:
    """Also where both ask for the same in another order."""
    await runs.run(rows_of("imaginelab", "a"))
    begun: list[str] = []

    async def amended(*prompts: str) -> None:
        async with prepared(runs, rows_of("imaginelab", *prompts), wait=True) as found:
            begun.append(prompts[-1])
            await until(lambda: len(begun) >= 2)
            await persist_plan(runs.store, found)

    await asyncio.gather(
        again_if_amended(partial(amended, "a", "b", "c")), again_if_amended(partial(amended, "a", "c", "b"))
    )
    assert list(shard_numbers(runs.store, "batch")) == [1, 2]
    assert len(begun) == 3
    assert (await runs.run(rows_of("imaginelab", "a", "b", "c"))).summary.items.total == 3


async def test_an_open_create_that_nobody_wants_is_withdrawn_by_whoever_finds_it_absent(runs: Runs) -> None:
    """Not only by the run that was told of the file's change."""
    runs.sandbox.faults.add(FaultRule("cut_before", provider="imaginelab", on="create", match="x"))
    async with runs.session(rows_of("imaginelab", "a", "x")) as session, asyncio.timeout(60):
        running = asyncio.ensure_future(run_session(session))
        await until(lambda: states(runs.store).get(2, ItemState()).phase is Phase.OPEN)
        running.cancel()
    async with runs.session(rows_of("imaginelab", "a")):
        assert states(runs.store)[2].unwanted  # and this run ends before it has found anything out
    runs.sandbox.faults.clear()
    ended = await runs.run(None)
    assert (ended.summary.items.stored, ended.summary.items.withdrawn) == (1, 1)
    assert runs.accepted("imaginelab") == {"a": 1}
    assert (await runs.run(rows_of("imaginelab", "a", "x"))).summary.items.stored == 2


async def test_frozen_holds_after_an_interrupted_planning_that_was_gone_on_with(runs: Runs) -> None:
    rows = numbered("imaginelab", 30)
    async with prepared(runs, rows, shard_size=5) as found:
        assert found.plans is not None
        origin = Origin(batch_id="batch", source=None, items=30, created=utc_now())
        write_origin(runs.store, origin)
        write_plan(runs.store, next(iter(found.plans)))
    fewer = rows[:4]
    await runs.run(fewer, shard_size=5)
    with pytest.raises(ConfigurationError, match="exists with other prompts"):
        await runs.run([*fewer, *rows[7:8]], frozen=True, shard_size=5)
    assert len(runs.accepted("imaginelab")) == 4


async def test_a_batch_that_was_killed_before_it_said_so_settles(runs: Runs) -> None:
    """Whoever finds nothing left to do, or amends it, says so."""
    for amended in (False, True):
        batch = f"batch-{amended}"
        rows = numbered("imaginelab", 3)
        async with runs.session(rows, batch=batch) as session:
            await run_session(session)
        assert batch in read_index(runs.store).active
        if amended:
            await runs.run(numbered("imaginelab", 4), batch=batch)
        else:
            async with prepare_batch(runs.store, batch, None, runs.accounts, BatchOptions()) as found:
                assert found.settled
                settle_books(runs.store, found.position.summary("")[1])
        index = read_index(runs.store)
        assert batch not in index.active
        assert batch in index.settled


async def test_a_batch_that_grows_is_listed_once(runs: Runs) -> None:
    for count in (1, 2, 3):
        await runs.run(numbered("imaginelab", count))
        await until_another_second()
    assert len(list(runs.store.list(SETTLED))) == 1


async def until_another_second() -> None:
    """Entries of settled batches go by the second."""
    now = int(utc_now().timestamp())
    await until(lambda: int(utc_now().timestamp()) > now)


async def test_names_that_only_look_like_ours_disturb_nobody(runs: Runs) -> None:
    await runs.run(numbered("imaginelab", 1))
    for key in ("batch/shards/\u00b2/x.txt", ".imagine/active/batch~\u00b2", ".imagine/active/b c~00000001"):
        runs.store.put(key, b"")
    runs.store.put(f"{SETTLED}20261128T000000~b~c", b"")
    index = read_index(runs.store)
    assert (set(index.active), set(index.settled)) == ({"batch"}, set[str]())
    assert (await runs.run(numbered("imaginelab", 2))).summary.items.stored == 2
    assert list(books_since(runs.store, utc_now() - timedelta(days=30)))
