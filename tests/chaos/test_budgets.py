"""One budget over several processes that are killed again and again: it is never passed, and never wasted."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from threading import Event

import pytest

from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.billing.budgets.amounts import SPENT, amounts_of
from prefect_imagine.billing.budgets.budget import Budget, set_budget
from prefect_imagine.billing.budgets.sequence import read_holdings
from prefect_imagine.billing.root import read_unsettled
from prefect_imagine.clock import utc_now
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.chaos.command import Prompts, Run

pytestmark = pytest.mark.long
LIMIT = 1000
PRICE = 5
PROCESSES = 6
EACH = 80
KILLS = 30


class Fleet:
    """Processes with a batch of their own each, under one root."""

    def __init__(self, folder: Path, sandbox: RunningSandbox) -> None:
        self.root = folder / "outputs"
        self.sandbox = sandbox
        self._folder = folder
        self._clock = folder / "clock"
        self._environment = {**sandbox.environment, "XDG_CACHE_HOME": str(folder / "cache")}
        self._prompts = [
            Prompts(
                folder / f"prompts-{number}.csv",
                [("imaginelab", f"picture {place} of {number}") for place in range(EACH)],
            )
            for number in range(PROCESSES)
        ]
        for prompts in self._prompts:
            prompts.write()
        self.runs: list[Run | None] = [None] * PROCESSES
        self.set_clock(0)

    def set_clock(self, ahead: float) -> None:
        """Let everybody's clock be ahead from now on."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self._clock)

    def start(self, number: int) -> Run:
        """Start a process, or start it again."""
        arguments = [str(self._prompts[number].path), str(self.root), f"batch-{number}", str(self._clock)]
        log = self._folder / f"run-{number}"
        run = self.runs[number] = Run(arguments, self._environment, log, module="tests.chaos.budgeted")
        return run

    def end_one(self, number: int) -> None:
        """Kill a process, if it still runs."""
        run = self.runs[number]
        if run is not None:
            run.end()

    def end(self) -> None:
        """Leave nothing running."""
        for number in range(PROCESSES):
            self.end_one(number)

    def kill_one(self, dice: random.Random) -> None:
        """Kill some process at some moment, and start it again."""
        number = dice.randrange(PROCESSES)
        run, target = self.runs[number], self.accepted + dice.randrange(1, 12)
        assert run is not None
        run.until(lambda: self.accepted >= target)
        Event().wait(dice.choice((0, 0.05, 0.2)))
        run.end()
        self.start(number)

    @property
    def accepted(self) -> int:
        """Jobs so far."""
        return self.sandbox.books.accepted["imaginelab"]

    def last(self) -> list[int]:
        """Let everybody run to the end, as far as the budget goes; gives their exit codes."""
        for number in range(PROCESSES):
            self.end_one(number)
            self.start(number)
        return [run.wait() for run in self.runs if run is not None]

    def spent_by_day(self) -> Counter[str]:
        """What the journals say, by the day of each create."""
        store = open_store(str(self.root))
        found: Counter[str] = Counter()
        for batch in (f"batch-{number}" for number in range(PROCESSES)):
            for number in shard_numbers(store, batch):
                shard = read_unsettled(store, batch, number)
                assert shard is not None
                for item, state in shard.standings():
                    for _, at, _, credits in amounts_of(item, state):
                        assert at is not None
                        found[at.date().isoformat()] += int(credits)
        return found


@pytest.fixture
def fleet(tmp_path: Path, sandbox: RunningSandbox) -> Iterator[Fleet]:
    sandbox.configure(
        rate_limits={"imaginelab": RateLimit()}, latency={"image": (0.2, 1.0)}, history_lag_seconds=0.3
    )
    lost = (FaultRule(name, on="create", rate=0.03) for name in ("cut_after", "error_after"))
    sandbox.faults.add(*lost)
    fleet = Fleet(tmp_path, sandbox)
    yield fleet
    fleet.end()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_it_holds_over_processes_kills_lost_creates_and_midnight(fleet: Fleet) -> None:
    dice = random.Random(14)
    now = utc_now()
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
    store = open_store(str(fleet.root))
    budget = Budget(name="team", limits={"imaginelab": LIMIT}, period="day", set_at=now)
    set_budget(store, budget)
    for number in range(PROCESSES):
        fleet.start(number)
    turned = False
    for _ in range(KILLS):
        if not turned and fleet.accepted >= LIMIT / PRICE / 2:
            turned = True
            fleet.set_clock((midnight - utc_now()).total_seconds())
        fleet.kill_one(dice)
    assert turned, "everything ended before midnight"
    codes = fleet.last()
    assert 3 in codes
    assert set(codes) <= {0, 3}
    spent, charged = fleet.spent_by_day(), fleet.sandbox.report(jobs=False)["charged"]["imaginelab"]
    assert sum(spent.values()) == charged
    today, tomorrow = now.date().isoformat(), midnight.date().isoformat()
    assert set(spent) == {today, tomorrow}
    assert spent[today] <= LIMIT
    assert LIMIT - PRICE < spent[tomorrow] <= LIMIT, "nothing that fits is left"
    for day in (today, tomorrow):
        holdings = read_holdings(store, budget.key, day)
        assert holdings.of("imaginelab", *SPENT) == spent[day]
        assert holdings.of("imaginelab", "reserved") == 0
