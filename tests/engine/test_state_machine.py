"""Whatever is created, lost, refused, frozen, killed and taken over, in whatever order: one job an item.

The real journal and stages run over a provider in memory. Time is moved, never waited for; a crash drops a
process without closing anything; a frozen process (SIGSTOP) sends its create when it is thawed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.settlement import is_final
from prefect_imagine.clock import Deadline
from prefect_imagine.engine.planning.difference import Difference, Holdings
from prefect_imagine.errors import FencedError
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.stores import Downloader
from tests.batches.memory_store import MemoryStore
from tests.engine.fake_provider import (
    CRASHED,
    CRASHED_BEFORE,
    LOST,
    LOST_BEFORE,
    REFUSED,
    SLOWED,
    Crash,
    FakeProvider,
    Fate,
    late,
    moved_time,
    plan_of,
)
from tests.engine.inline_blocking import InlineBlocking
from tests.engine.one_process import TIMING, Process

PROMPTS = ("alone", "thrice", "thrice", "thrice", "twice", "twice")
LAG = st.floats(0, TIMING.settle * 0.9)


@dataclass(frozen=True)
class Frozen:
    """A create that a stopped process will send when it goes on."""

    request: GenerationRequest
    mark: str
    deadline: Deadline


def row(prompt: str) -> RequestedItem:
    """A row that asks for what `plan_of` plans."""
    return RequestedItem(1, plan_of(prompt).items[0].request, None)


class NeverTwice(RuleBasedStateMachine):
    """One batch and all the processes that ever ran it."""

    @initialize(correlates=st.booleans(), page=st.sampled_from([1, 2, 100]), turns=st.sampled_from([1, 30]))
    def begin(self, correlates: bool, page: int, turns: int) -> None:
        self.open = ExitStack()
        self.time = self.open.enter_context(moved_time())
        self.loop = asyncio.new_event_loop()
        self.open.callback(self.loop.close)
        self.blocking = InlineBlocking(patience=5.0, turns=turns)
        self.open.callback(self.blocking.close)
        self.downloader = Downloader()
        self.open.callback(self.downloader.close)
        self.store = MemoryStore()
        self.server = FakeProvider(page=page)
        self.plans = [plan_of(*PROMPTS[:4])]
        self.wanted: Sequence[str] = PROMPTS[:4]
        self.correlates = correlates
        self.frozen: list[Frozen] = []
        self.older: list[Process] = []
        self.process: Process | None = None

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run one thing to its end, or to the death of the process."""

        async def bounded() -> None:
            async with asyncio.timeout(20):
                await work

        try:
            self.loop.run_until_complete(bounded())
        except Crash:
            self.process = None
        finally:
            self._sweep()

    def _sweep(self) -> None:
        """A dead process's coroutines end with it."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    @rule()
    def take_over(self) -> None:
        if self.process is not None:
            self.older.append(self.process)
        self.do(self._start())

    @rule(wanted=st.permutations(PROMPTS), count=st.integers(1, len(PROMPTS)))
    def change_what_is_asked_for(self, wanted: Sequence[str], count: int) -> None:
        """Rows come, go, and come back, in another order; whoever ran the batch is taken over."""
        self.wanted = wanted[:count]
        self.take_over()

    async def _start(self) -> None:
        difference = self._difference()
        new = [each.request.prompt for each in difference.new]
        if new:
            last = self.plans[-1]
            self.plans.append(plan_of(*new, shard=last.shard + 1, first=last.indices.stop))
        self.process = await Process.start(
            self.store,
            self.blocking,
            self.plans[0],
            self.server,
            self.downloader,
            correlates=self.correlates,
            further=self._left(difference),
            difference=difference,
        )

    def _difference(self) -> Difference:
        holdings = Holdings()
        for plan in self.plans:
            state = read_journal(self.store, plan.path).state
            for item in plan.items:
                holdings.add(item.index, item.asked, state[item.index].phase)
        return holdings.difference([row(prompt) for prompt in self.wanted])

    def _left(self, difference: Difference) -> list[Plan]:
        """The further shards that a run visits: of the others nothing is left to do."""
        return [plan for plan in self.plans[1:] if not self._is_done(plan, difference)]

    def _is_done(self, plan: Plan, difference: Difference) -> bool:
        state = read_journal(self.store, plan.path).state
        final = all(is_final(state[index]) for index in plan.indices)
        return final and (difference.withdrawn | difference.restored).isdisjoint(plan.indices)

    def _creatable(self) -> list[int]:
        return self.process.creatable() if self.process is not None else []

    @precondition(lambda self: self._creatable())
    @rule(data=st.data(), lag=LAG)
    def create(self, data: st.DataObject, lag: float) -> None:
        items = data.draw(st.lists(st.sampled_from(self._creatable()), min_size=1, max_size=3, unique=True))
        slow = st.builds(late, st.floats(0, TIMING.create), LAG)
        quick = [Fate(), LOST, LOST_BEFORE, CRASHED, CRASHED_BEFORE]
        # One that is told to slow down would wait for the fate of an open one like it: nobody looks here.
        fates = st.sampled_from([*quick, SLOWED] if len(items) == 1 else quick) | slow
        chosen = [replace(data.draw(fates), lag=lag) for _ in items]
        self.server.fates.extend(chosen)
        assert self.process is not None
        self.do(self.process.create(*items))
        self.server.fates.clear()

    @precondition(lambda self: self._creatable())
    @rule()
    def refuse(self) -> None:
        """Final for the batch; the last resume asks for it once more."""
        self.server.fates.append(REFUSED)
        assert self.process is not None
        self.do(self.process.create(self._creatable()[0]))

    @precondition(lambda self: self._creatable())
    @rule()
    def freeze_before_sending(self) -> None:
        assert self.process is not None
        client, request = self.process.client, self.process.run.shards.item(self._creatable()[0]).request

        def stop(mark: str, deadline: Deadline | None) -> None:
            assert deadline is not None
            self.frozen.append(Frozen(request, mark, deadline))
            raise Crash

        client.while_creating = stop
        self.do(self.process.create(self._creatable()[0]))

    @precondition(lambda self: self.frozen)
    @rule(after=st.floats(0, TIMING.create), lag=LAG)
    def thaw(self, after: float, lag: float) -> None:
        """It checks the deadline and sends; the rest of it is fenced or dies."""
        create = self.frozen.pop()
        if not create.deadline.passed:
            self.server.accept(create.request, create.mark, after=after, lag=lag)

    @precondition(lambda self: self.older)
    @rule()
    def wake_an_older_process(self) -> None:
        """It has not noticed that it was taken over, and tries to go on."""
        older = self.older.pop()
        before = len(self.server.jobs)
        if older.creatable():
            with suppress(FencedError):
                self.do_as_other(older.create(older.creatable()[0]))
        assert len(self.server.jobs) == before, "a fenced process has created something"

    def do_as_other(self, work: Coroutine[Any, Any, None]) -> None:
        """The same for a process that is not the present one."""
        present = self.process
        self.do(work)
        self.process = present

    @precondition(lambda self: self.blocking.unmade)
    @rule()
    def land_a_late_write(self) -> None:
        """The store takes what a process has sent that is no more."""
        self.blocking.unmade.pop(0)()

    @precondition(lambda self: self.process is not None)
    @rule()
    def look_back(self) -> None:
        assert self.process is not None
        self.do(self.process.look_back())

    @precondition(lambda self: self.process is not None)
    @rule()
    def look(self) -> None:
        assert self.process is not None
        self.do(self.process.look())

    @rule(seconds=st.floats(0.1, 120))
    def pass_time(self, seconds: float) -> None:
        self.time.now += seconds

    @rule()
    def crash(self) -> None:
        self.process = None

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        if hasattr(self, "server"):
            accepted = self.server.accepted()
            assert accepted <= Counter(PROMPTS), accepted
            assert max(self.server.sent.values(), default=0) <= 1, "an attempt was sent twice"

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        with self.open:
            self._resume_to_the_end()

    def _resume_to_the_end(self) -> None:
        self.frozen.clear()
        self.wanted = PROMPTS
        self.take_over()
        process = self.process
        assert process is not None
        for _ in range(40):
            self.do(process.look_back())
            if process.creatable():
                self.do(process.create(*process.creatable()))
            self.time.now += 10
            self.do(process.look())
        self.nothing_is_paid_twice()
        states = [
            read_journal(self.store, plan.path).state[item.index]
            for plan in self.plans
            for item in plan.items
        ]
        phases = Counter(state.phase for state in states)
        accepted, refused = self.server.accepted(), phases[Phase.FAILED]
        assert phases[Phase.STORED] + refused == phases.total() == len(PROMPTS), phases
        assert accepted.total() + refused == len(PROMPTS)
        jobs = [state.id for state in states if state.phase is Phase.STORED]
        assert len(set(jobs)) == len(jobs), "two items have one job"
        assert set(jobs) == {job.id for job in self.server.jobs}, "a job belongs to no item"


TestNeverTwice = NeverTwice.TestCase
TestNeverTwice.settings = settings(
    max_examples=100,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
