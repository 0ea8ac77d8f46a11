"""Shards and batches that ask for the same prompt at the same time, by processes that lose answers, crash,
and look at one history: one job an item, and each job its one item.

Each party has its own process over one store and one provider. Time is moved, never waited for; parties act
side by side, and how many turns of the event loop a call to the store takes decides who comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.stores import Downloader
from tests.batches.memory_store import MemoryStore
from tests.engine.fake_provider import (
    CRASHED,
    CRASHED_BEFORE,
    LOST,
    LOST_BEFORE,
    Crash,
    FakeProvider,
    Fate,
    late,
    moved_time,
    plan_of,
)
from tests.engine.inline_blocking import InlineBlocking
from tests.engine.one_process import TIMING, Process

PLANS = (
    plan_of("same", "same", batch_id="one"),
    plan_of("same", "same", batch_id="one", shard=2, first=3),
    plan_of("same", "same", batch_id="two"),
)
ITEMS = sum(len(plan.items) for plan in PLANS)
PARTIES = range(len(PLANS))
TURNS = st.tuples(*[st.sampled_from([1, 2, 5, 30]) for _ in PARTIES])
SLOW = st.tuples(*[st.sampled_from([0, 3, 40, 200]) for _ in PARTIES])


async def turns(count: int) -> None:
    """Let the others go on for so many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class OneJobEach(RuleBasedStateMachine):
    """Three parties under one root, with one account and one prompt."""

    @initialize(stores=TURNS, answers=SLOW, reads=SLOW, page=st.sampled_from([2, 100]))
    def begin(
        self, stores: tuple[int, ...], answers: tuple[int, ...], reads: tuple[int, ...], page: int
    ) -> None:
        self.open = ExitStack()
        self.time = self.open.enter_context(moved_time())
        self.loop = asyncio.new_event_loop()
        self.open.callback(self.loop.close)
        self.blocking = [InlineBlocking(patience=5.0, turns=each) for each in stores]
        self.answers, self.reads = answers, reads
        for each in self.blocking:
            self.open.callback(each.close)
        self.downloader = Downloader()
        self.open.callback(self.downloader.close)
        self.store = MemoryStore()
        self.server = FakeProvider(page=page)
        self.processes: list[Process | None] = [None for _ in PARTIES]
        for party in PARTIES:
            self.start(party)

    def do(self, *works: tuple[int, Coroutine[Any, Any, None]]) -> None:
        """Run what parties do, side by side, each to its end or to the death of its process."""

        async def bounded(party: int, work: Coroutine[Any, Any, None]) -> None:
            try:
                async with asyncio.timeout(20):
                    await work
            except Crash:
                self.processes[party] = None

        async def together() -> None:
            await asyncio.gather(*(bounded(*each) for each in works))

        self.loop.run_until_complete(together())
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    @rule(party=st.sampled_from(PARTIES))
    def start(self, party: int, *, collects: bool = False) -> None:
        async def started() -> None:
            process = await Process.start(
                self.store,
                self.blocking[party],
                PLANS[party],
                self.server,
                self.downloader,
                collects=collects,
            )
            process.client.while_answering = lambda _: turns(self.answers[party])
            process.client.before_page = lambda: turns(self.reads[party])
            self.processes[party] = process

        self.do((party, started()))

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        """Some look back, others create, at the same time."""
        works: list[tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = []
        for party, process in enumerate(self.processes):
            if process is None:
                continue
            creatable = process.creatable()
            what = data.draw(st.sampled_from(["look back", "create", "create", "nothing"]))
            if what == "create" and creatable:
                works.append((party, partial(process.create, creatable[0])))
            elif what != "nothing":
                works.append((party, process.look_back))
        quick = [Fate(), Fate(), LOST, LOST_BEFORE, LOST_BEFORE, CRASHED, CRASHED_BEFORE]
        slow = late(data.draw(st.floats(0, TIMING.create)), data.draw(st.floats(0, TIMING.settle * 0.9)))
        self.server.fates.extend(data.draw(st.sampled_from([*quick, slow])) for _ in works)
        self.do(*((party, work()) for party, work in works))
        self.server.fates.clear()

    @precondition(lambda self: any(self.processes))
    @rule(seconds=st.floats(0.1, 60))
    def look_back_on_and_on(self, seconds: float) -> None:
        self.do(*[(party, process.look_back()) for party, process in enumerate(self.processes) if process])
        self.time.now += seconds

    @rule(seconds=st.floats(0.1, 120))
    def pass_time(self, seconds: float) -> None:
        self.time.now += seconds

    @rule(party=st.sampled_from(PARTIES))
    def crash(self, party: int) -> None:
        self.processes[party] = None

    def states(self) -> list[ItemState]:
        """Where each item durably stands."""
        journals = [read_journal(self.store, plan.path).state for plan in PLANS]
        return [state[item.index] for plan, state in zip(PLANS, journals, strict=True) for item in plan.items]

    @invariant()
    def each_job_has_one_item_and_each_item_one_job(self) -> None:
        if not hasattr(self, "server"):
            return
        jobs = [charge.id for state in self.states() for charge in state.charges]
        assert len(set(jobs)) == len(jobs), f"two items have one job: {jobs}"
        assert len(self.server.jobs) <= ITEMS, "something was paid for twice"
        assert max(self.server.sent.values(), default=0) <= 1, "an attempt was sent twice"

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        with self.open:
            for collects in (False, True, False):
                self._go_on(collects=collects)
            states = self.states()
            assert all(state.phase is Phase.STORED for state in states), [state.phase for state in states]
            assert {state.id for state in states} == {job.id for job in self.server.jobs}, "a job has no item"

    def _go_on(self, *, collects: bool) -> None:
        """All parties go on for as long as it takes; or those that have given up look again."""
        for party in PARTIES:
            self.start(party, collects=collects)
        for _ in range(60):
            alive = [(party, process) for party, process in enumerate(self.processes) if process]
            self.do(*[(party, process.look_back()) for party, process in alive])
            self.do(*[(party, process.create(*process.creatable())) for party, process in alive])
            self.time.now += 10
            self.do(*[(party, process.look()) for party, process in alive])
            self.each_job_has_one_item_and_each_item_one_job()


TestOneJobEach = OneJobEach.TestCase
TestOneJobEach.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
