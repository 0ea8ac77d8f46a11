"""Kills the command line at random moments, while its prompts file changes, until its batch is done, and
holds that against the books."""

from __future__ import annotations

import logging
import random
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.stores import open_store
from tests.chaos.books import Verdict, audit
from tests.chaos.command import PROVIDERS, TIMING, Prompts, Run, write_prompts

# A client that is killed leaves answers unsent, which aiohttp would report at length.
logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
KINDS = ("image", "video", "voice", "music", "infographic", "text")
BATCH = "chaos"
MOST_RUNS_TO_THE_END = 8
SHARD_SIZE = 10
"""So that several shards are open at once."""
AHEAD = 12
"""Rows that a file has beyond those that are made before a kill."""
LEFT_OUT = 3
KILLS_A_BATCH = 10


@dataclass(frozen=True)
class Plan:
    """What one batch is put through; the same for the same seed.

    Attributes:
        each: prompts a provider.
        lost: the rate of creates cut, and of creates answered 502, after their acceptance.
        module: what is run: the command line's.
    """

    seed: str
    kills: int
    providers: tuple[str, ...] = PROVIDERS
    each: int = 16
    lost: float = 0.04
    module: str = "prefect_imagine"


@dataclass
class Result:
    """What became of one batch."""

    plan: Plan
    kills: int = 0
    runs: int = 0
    accepted: int = 0
    exit_code: int = -1
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong."""
        ended = [] if self.exit_code == 0 else [f"the last run ended with exit code {self.exit_code}"]
        return [*ended, *self.verdict.problems]


def settings(plan: Plan) -> SandboxSettings:
    """A sandbox whose jobs take about a second, and without limits of its own: `--rate` sets the pace."""
    number = random.Random(plan.seed).randrange(2**31)
    latency = dict.fromkeys(KINDS, (0.3, 1.5))
    limits = dict.fromkeys(PROVIDERS, RateLimit())
    return SandboxSettings(
        seed=number, latency=latency, rate_limits=limits, image_pixels=32, history_lag_seconds=0.5
    )


def faults(plan: Plan) -> Iterator[FaultRule]:
    """Answers lost after acceptance, and a few spoilt downloads."""
    yield FaultRule("cut_after", on="create", rate=plan.lost)
    yield FaultRule("error_after", on="create", rate=plan.lost)
    for name in ("truncated", "html", "cut_body", "expired_url"):
        yield FaultRule(name, on="media", rate=0.02)


def torture(plan: Plan, prefect: Mapping[str, str], say: Callable[[str], None]) -> Result:
    """Run one batch, kill it as often as planned, let it end, and audit it."""
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        running_sandbox(settings(plan)) as sandbox,
    ):
        folder = Path(name)
        sandbox.faults.add(*faults(plan))
        prompts = write_prompts(folder / "prompts.csv", plan.each, plan.providers)
        victim = Victim(plan, folder, prompts, sandbox, prefect)
        result = Result(plan)
        for aim in aims(plan, prompts):
            result.runs += 1
            killed = victim.kill_at(aim)
            if not killed:
                break
            result.kills += 1
            say(f"seed {plan.seed} kill {result.kills}: {killed}")
        while result.runs < plan.kills + MOST_RUNS_TO_THE_END:
            result.runs += 1
            result.exit_code = victim.run()
            if result.exit_code == 0:
                break
        store = open_store(str(victim.root))
        result.verdict = audit(store, [BATCH], prompts.asked, sandbox.report())
        result.accepted = sum(sandbox.books.accepted.values())
        result.verdict.credits += victim.misreported()
        if result.problems:
            say(f"seed {plan.seed}: the last words of its runs:\n{victim.errors[-3000:]}")
        return result


@dataclass(frozen=True)
class Aim:
    """When to kill: at so many accepted jobs, or at so many stored outputs; and a moment later.

    Attributes:
        left_out: places of rows that the file does not hold in this run, though it does in later ones.
        rows: how many rows it has at all by then.
    """

    jobs: int | None
    outputs: int | None
    delay: float
    left_out: frozenset[int]
    rows: int


def aims(plan: Plan, prompts: Prompts) -> Iterator[Aim]:
    """Moments spread over the work, the later ones in the storing."""
    dice = random.Random(f"{plan.seed}:aims")
    stride = prompts.total / (plan.kills + 1)
    for number in range(1, plan.kills + 1):
        target = max(1, round(stride * number - dice.random() * stride))
        by_jobs = number <= plan.kills * 0.8
        rows = min(prompts.total, target + AHEAD) if by_jobs else prompts.total
        left_out = frozenset(dice.sample(range(rows), LEFT_OUT)) if by_jobs else frozenset[int]()
        delay = dice.choice((0, 0, 0.05, 0.3))
        yield Aim(target if by_jobs else None, None if by_jobs else target, delay, left_out, rows)


class Victim:
    """The batch that is killed, with everything needed to run it again."""

    def __init__(
        self, plan: Plan, folder: Path, prompts: Prompts, sandbox: RunningSandbox, prefect: Mapping[str, str]
    ) -> None:
        self.root = folder / "outputs"
        self._prompts = prompts
        self._log = folder / "run"
        self._sandbox = sandbox
        self._module = plan.module
        self._environment = {
            **prefect,
            **sandbox.environment,
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        rates = [f"--rate={provider}=4/1s" for provider in plan.providers]
        self._arguments = [
            *("generate", str(prompts.path), "--output", str(self.root), "--batch-id", BATCH),
            *("--timing", TIMING, "--json", "--shard-size", str(SHARD_SIZE), *rates),
        ]
        self._last: Run | None = None

    def start(self, aim: Aim | None = None) -> Run:
        """The same command again, on a file that holds all its rows, or those that it has by then."""
        rows = self._prompts.rows
        there = range(len(rows)) if aim is None else range(aim.rows)
        self._prompts.write([rows[place] for place in there if aim is None or place not in aim.left_out])
        self._last = Run(self._arguments, self._environment, self._log, module=self._module)
        return self._last

    def run(self) -> int:
        """Let it run to its end."""
        return self.start().wait()

    def kill_at(self, aim: Aim) -> str:
        """Start it and kill it; says where, or nothing if it ended by itself before."""
        run = self.start(aim)
        if not run.until(lambda: self._reached(aim)):
            return ""
        threading.Event().wait(aim.delay)
        run.kill()
        return f"at {self._jobs} jobs, {self._outputs} outputs"

    def misreported(self) -> list[str]:
        """Where `--json` of the last run differs from the books."""
        if self._last is None:
            return ["nothing was run"]
        told = self._last.summary["credits"]["charged"]
        charged = self._sandbox.report(jobs=False)["charged"]
        books = charged["imaginelab"] + charged["aivisualstudio"]
        return [] if told == books else [f"--json says {told} charged, the books say {books}"]

    @property
    def errors(self) -> str:
        """What all runs said."""
        return self._last.errors if self._last is not None else ""

    def _reached(self, aim: Aim) -> bool:
        if aim.jobs is not None:
            return self._jobs >= aim.jobs
        return self._outputs >= (aim.outputs or 0)

    @property
    def _jobs(self) -> int:
        return sum(self._sandbox.books.accepted.values())

    @property
    def _outputs(self) -> int:
        return sum(1 for _ in (self.root / BATCH / "outputs").glob("*"))


def campaign(
    plans: Sequence[Plan], prefect: Mapping[str, str], say: Callable[[str], None], *, at_once: int = 2
) -> list[Result]:
    """Torture several batches, some of them side by side."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda plan: torture(plan, prefect, say), plans))
