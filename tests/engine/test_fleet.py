"""Shards of one batch that run side by side, each as a worker of its own would run it."""

from __future__ import annotations

import pytest

from prefect_imagine.batches.control.commands import Command, write_command
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.billing.root import shard_books
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.fleet.handing_over import Placement, hand_over
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.errors import BatchBusyError
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.stores import Store
from tests.books import assert_bill_is_exact
from tests.engine.engine_runs import TIMING, numbered, rows_of
from tests.engine.fleet_runs import BATCH, FleetRuns

PROVIDER = "imaginelab"


@pytest.fixture
def fleet(sandbox: RunningSandbox, store: Store) -> FleetRuns:
    return FleetRuns(sandbox, store)


def charged(fleet: FleetRuns) -> float:
    return float(fleet.sandbox.report(jobs=False)["charged"][PROVIDER])


async def test_all_is_stored_once_and_one_of_them_closes_the_books(fleet: FleetRuns) -> None:
    dispatch = await fleet.hand_over(numbered(PROVIDER, 150), workers=3)
    ended = await fleet.work(dispatch)
    assert [(each.items.stored, each.items.total) for each in ended] == [(150, 150)]
    fleet.check()
    assert_bill_is_exact(fleet.store, BATCH, fleet.sandbox)
    assert all(isinstance(shard_books(fleet.store, BATCH, shard), Settlement) for shard in (1, 2, 3))


async def test_lost_answers_are_found_among_the_jobs_of_all_and_paid_once(fleet: FleetRuns) -> None:
    """Half of them ask for what others ask for too: whose job a history shows hangs on what others hold."""
    rows = [*numbered(PROVIDER, 60), *rows_of(PROVIDER, *["the same"] * 60)]
    fleet.sandbox.faults.add(FaultRule("cut_after", on="create", rate=0.1))
    dispatch = await fleet.hand_over(rows, workers=2)
    [ended] = await fleet.work(dispatch)
    assert ended.items.stored == 120
    fleet.check()


async def test_together_they_never_pass_the_limit(fleet: FleetRuns) -> None:
    dispatch = await fleet.hand_over(numbered(PROVIDER, 150), workers=3, max_credits=331)
    [ended] = await fleet.work(dispatch)
    assert charged(fleet) == 330
    assert ended.stopped_by == ("budget",)
    assert ended.items.planned == 84
    again = await fleet.hand_over(None, asked_by="another", max_credits=750)
    assert sorted(again.shards) == [2, 3]
    assert again.carried == {PROVIDER: 250}
    [ended] = await fleet.work(again)
    assert ended.items.stored == 150
    fleet.check()


async def test_a_limit_that_is_set_meanwhile_is_passed_by_nobody(fleet: FleetRuns) -> None:
    """What the first has spent is beyond what it would have been given: the others create nothing."""
    dispatch = await fleet.hand_over(numbered(PROVIDER, 150), workers=3, max_credits=1000)
    await fleet.work(dispatch, 3)
    write_command(fleet.store, BATCH, Command(kind="set", max_credits=300))
    [ended] = await fleet.work(dispatch, 1, 2)
    assert charged(fleet) == 250
    assert ended.stopped_by == ("budget",)


async def test_a_limit_that_is_set_and_suffices_for_all_stops_nobody(fleet: FleetRuns) -> None:
    dispatch = await fleet.hand_over(numbered(PROVIDER, 100), max_credits=300)
    write_command(fleet.store, BATCH, Command(kind="set", max_credits=500))
    [ended] = await fleet.work(dispatch)
    assert ended.items.stored == 100


async def test_of_two_that_hand_it_over_at_once_one_is_busy(fleet: FleetRuns) -> None:
    await fleet.hand_over(numbered(PROVIDER, 100))
    chosen = BatchOptions(batch_id=BATCH, timing=TIMING)
    placement = Placement(pool="none", output="", asked_by="another")
    async with prepare_batch(fleet.store, BATCH, None, fleet.accounts, chosen) as prepared:
        with pytest.raises(BatchBusyError, match="has just been handed to another fleet"):
            await hand_over(fleet.store, prepared, chosen, placement)


async def test_a_cancelled_batch_begins_no_further_shard(fleet: FleetRuns) -> None:
    dispatch = await fleet.hand_over(numbered(PROVIDER, 100))
    await fleet.work(dispatch, 1)
    write_command(fleet.store, BATCH, Command(kind="cancel"))
    with pytest.raises(Exception, match="has been cancelled"):
        await fleet.work(dispatch, 2)
    assert charged(fleet) == 250


async def test_begun_again_it_goes_on_with_the_same_handing_over(fleet: FleetRuns) -> None:
    first = await fleet.hand_over(numbered(PROVIDER, 100))
    assert await fleet.hand_over(numbered(PROVIDER, 100)) == first
    await fleet.work(first)
    anew = await fleet.hand_over(numbered(PROVIDER, 130))
    assert (anew.generation, sorted(anew.shards)) == (2, [3])
    await fleet.work(anew)
    fleet.check()


async def test_nobody_amends_a_batch_one_of_whose_shards_is_run(fleet: FleetRuns) -> None:
    dispatch = await fleet.hand_over(numbered(PROVIDER, 100))
    async with fleet.session(None, batch=BATCH):
        with pytest.raises(BatchBusyError):
            await fleet.hand_over(numbered(PROVIDER, 101), asked_by="another")
    await fleet.work(dispatch)
    fleet.batches[BATCH] = fleet.asked
    assert charged(fleet) == 500
