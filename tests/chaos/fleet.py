"""Kills what runs a batch over a fleet, at random moments, and holds the batch against the books:
`python -m tests.chaos.fleet [--items N] [--workers N] [--every SECONDS] [--seed S]`."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack import Stack, missing
from prefect_imagine.stores import Store, open_store
from tests.chaos.books import Verdict, audit

PROVIDER = "aivisualstudio"
BATCH = "fleet"
GENERATE = "generate-batch/generate-batch"
COLLECT = "collect/collect"
COLLECT_SECONDS = 30.0
LONGEST_SECONDS = 3600.0
TIMING = {"deadline": 2, "create": 4, "settle": 1}
"""Proves absence after seven seconds."""
SANDBOX = {
    "image_pixels": 32,
    "latency": {"image": (0.5, 3.0)},
    "rate_limits": {PROVIDER: {"limit": 80, "window_seconds": 10.0, "headers": True}},
}
LOST = [
    {"fault": fault, "provider": PROVIDER, "on": "create", "rate": 0.02}
    for fault in ("cut_after", "error_after")
]


@dataclass(frozen=True)
class Plan:
    """What a batch is put through.

    Attributes:
        every: seconds from one kill of a worker to the next, about.
        most: kills after which it is left alone.
        handing_over: how often the run that hands the batch over is killed.
        server: whether Prefect's server and Redis are restarted once each.
    """

    seed: str
    items: int = 2000
    workers: int = 3
    every: float = 12.0
    most: int = 40
    handing_over: int = 2
    server: bool = True


@dataclass
class Result:
    """What became of it."""

    kills: int = 0
    seconds: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)


class Chaos:
    """One batch over a fleet, disturbed until its books are closed."""

    def __init__(self, plan: Plan, stack: Stack, store: Store) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._stack = stack
        self._store = store
        self._result = Result()

    def run(self) -> Result:
        """Run it, and hold it against the books. Raises `TimeoutError`."""
        stack, began = self._stack, time.monotonic()
        stack.run(sys.executable, "-m", "prefect_imagine", "setup-automations")
        httpx.post(f"{stack.providers.url}/_sandbox/faults", json=LOST, timeout=60).raise_for_status()
        run = stack.api.start_run(GENERATE, self._parameters())
        for _ in range(self._plan.handing_over):
            self._kill_handing_over(run)
        self._disturb(began + LONGEST_SECONDS)
        self._result.seconds = time.monotonic() - began
        books = stack.providers.books(jobs=True)
        self._result.requests = books["requests"][PROVIDER]
        asked = Counter((PROVIDER, prompt) for prompt in self._prompts())
        whole = httpx.get(f"{stack.providers.url}/_sandbox/books", timeout=120).raise_for_status().json()
        self._result.verdict = audit(self._store, [BATCH], asked, whole)
        return self._result

    def _prompts(self) -> list[str]:
        return [f"{self._plan.seed} {number}" for number in range(self._plan.items)]

    def _parameters(self) -> dict[str, Any]:
        options = {"batch_id": BATCH, "timing": TIMING}
        fleet = {"pool": self._stack.pool, "workers": 2 * self._plan.workers}
        prompts = [{"prompt": prompt} for prompt in self._prompts()]
        return {"prompts": prompts, "provider": PROVIDER, "fleet": fleet, "options": options}

    def _kill_handing_over(self, run: str) -> None:
        """Kill every worker some moments after the run has begun, and have it begun again."""
        self._until(lambda: self._state(run) in ("RUNNING", "COMPLETED"), "the run that hands over to begin")
        time.sleep(self._random.uniform(0.0, 6.0))
        if self._state(run) != "RUNNING":
            return  # it was quicker
        for number in self._stack.workers:
            self._stack.kill_worker(number)
        self._result.kills += 1
        for number in self._stack.workers:
            self._stack.start_worker(number)
        # What an automation does once it has been silent for long enough; the next one has it begun again.
        crashed = {"state": {"type": "CRASHED", "message": "killed"}, "force": True}
        self._stack.api.request("POST", f"/flow_runs/{run}/set_state", crashed)
        self._until(lambda: self._state(run) != "CRASHED", "the run that hands over to be scheduled again")

    def _disturb(self, deadline: float) -> None:
        """Kill workers, and restart servers, until the books are closed."""
        restarts = [self._stack.server.restart, self._stack.redis.restart] if self._plan.server else []
        next_kill, next_collect = time.monotonic() + self._plan.every, time.monotonic()
        while not self._closed():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the books are open after {LONGEST_SECONDS:.0f} s")
            if time.monotonic() > next_collect:
                self._collect()
                next_collect = time.monotonic() + COLLECT_SECONDS
            if time.monotonic() > next_kill and self._result.kills < self._plan.most:
                number = self._random.choice([*self._stack.workers])
                self._stack.kill_worker(number)
                self._result.kills += 1
                if restarts and self._result.kills % 3 == 0:
                    restarts.pop()()
                self._stack.start_worker(number)
                next_kill = time.monotonic() + self._random.uniform(0.5, 1.5) * self._plan.every
            time.sleep(0.5)

    def _collect(self) -> None:
        """Have what is lost mended, as the schedule has it done."""
        try:
            self._stack.api.start_run(COLLECT, {})
        except httpx.HTTPError:
            return  # the server is being restarted

    def _closed(self) -> bool:
        bill = self._store.head(f"{BATCH}/usage.json")
        return bill is not None and self._store.head(f"{BATCH}/submission.json") is None

    def _state(self, run: str) -> str:
        found: str = self._stack.api.flow_run(run)["state_type"]
        return found

    def _until(self, look: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 600.0
        while not look():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain for {what}")
            time.sleep(0.1)


@contextmanager
def disturbed(folder: Path, plan: Plan) -> Iterator[Chaos]:
    """A fleet, and its chaos."""
    with (
        Stack(folder, workers=plan.workers, sandbox=SANDBOX) as stack,
        closing(stack.s3.client()) as client,
        closing(open_store(stack.output, client=client)) as store,
    ):
        yield Chaos(plan, stack, store)


def main() -> None:
    """Run one, and tell what became of it; the exit code is 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fleet", description=__doc__)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--every", type=float, default=12.0, help="seconds from one kill to the next, about")
    parser.add_argument("--most", type=int, default=40, help="kills after which it is left alone")
    parser.add_argument("--seed", default="chaos")
    given = parser.parse_args()
    if missing():
        sys.exit(missing())
    folder = Path(tempfile.mkdtemp(prefix="imagine-chaos-"))
    with disturbed(folder, Plan(given.seed, given.items, given.workers, given.every, given.most)) as chaos:
        result = chaos.run()
    problems = result.verdict.problems
    print(
        f"{given.items} items, {result.kills} kills, {result.seconds:.0f} s: "
        f"{len(result.verdict.doubles)} paid twice, {len(result.verdict.lost)} lost, "
        f"{len(result.verdict.credits)} sums wrong, {len(result.verdict.stray)} stray; {result.requests}"
    )
    for problem in problems[:20]:
        print(problem)
    if problems:
        sys.exit(f"logs: {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
