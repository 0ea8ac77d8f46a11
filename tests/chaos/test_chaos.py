"""Killed wherever it may be, a batch ends with every prompt paid once, stored whole and billed exactly.

`make chaos` does the same for longer.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prefect_imagine.failpoints import NAMES
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.chaos.books import audit
from tests.chaos.command import PROVIDERS, TIMING, Prompts, Run, write_prompts
from tests.chaos.driver import Plan, torture
from tests.conftest import KINDS

pytestmark = pytest.mark.long
BATCH = "b"


class Bench:
    """One batch, and the ways to run it."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, prompts: Prompts) -> None:
        self.sandbox = sandbox
        self.prompts = prompts
        self.root = folder / "outputs"
        self._log = folder / "run"
        self._runs: list[Run] = []
        self.environment = {**sandbox.environment, "XDG_CACHE_HOME": str(folder / "cache")}

    def plain(self, *options: str, **environment: str) -> Run:
        """The engine alone."""
        arguments = [str(self.prompts.path), str(self.root), BATCH, *options]
        return self._run(arguments, environment, module="tests.chaos.plain")

    def cli(self, prefect: dict[str, str], **environment: str) -> Run:
        """The real command line."""
        rates = [f"--rate={provider}=24/3s" for provider in PROVIDERS]
        arguments = [
            *("generate", str(self.prompts.path), "--output", str(self.root), "--batch-id", BATCH),
            *("--timing", TIMING, "--json", *rates),
        ]
        return self._run(arguments, {**prefect, **environment})

    def _run(self, arguments: list[str], environment: dict[str, str], **more: str) -> Run:
        log = self._log.with_name(f"run-{len(self._runs)}")
        self._runs.append(Run(arguments, {**self.environment, **environment}, log, **more))
        return self._runs[-1]

    def end(self) -> None:
        """Leave nothing running, whatever a test has found."""
        for run in self._runs:
            run.end()

    def problems(self) -> list[str]:
        """What the books say of it."""
        store = open_store(str(self.root))
        return audit(store, [BATCH], self.prompts.asked, self.sandbox.report()).problems

    @property
    def accepted(self) -> int:
        """Jobs so far."""
        return sum(self.sandbox.books.accepted.values())


@pytest.fixture
def bench(tmp_path: Path, sandbox: RunningSandbox) -> Iterator[Bench]:
    sandbox.configure(rate_limits={"aivisualstudio": RateLimit()})
    bench = Bench(tmp_path, sandbox, write_prompts(tmp_path / "prompts.csv", 4))
    yield bench
    bench.end()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_ten_kills_over_all_four_providers(
    prefect_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = torture(Plan("ci", kills=10, each=8), prefect_environment, print)
    assert result.problems == []
    assert result.kills == 10, capsys.readouterr().out


def test_the_check_finds_doubles_where_resolving_is_switched_off(
    prefect_environment: dict[str, str],
) -> None:
    """The test of the tests."""
    plan = Plan("unsafe", kills=2, each=5, lost=0.2, module="tests.chaos.unsafe")
    assert torture(plan, prefect_environment, print).verdict.doubles


@pytest.mark.parametrize("passage", [1, 3])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mid_manifest", "after_approval")])
def test_killed_at_a_failpoint(bench: Bench, name: str, passage: int) -> None:
    assert bench.plain(PREFECT_IMAGINE_FAILPOINT=f"{name}:{passage}").wait() == -signal.SIGKILL
    again = bench.plain()
    assert again.wait() == 0, again.errors
    assert bench.problems() == []


def test_killed_in_the_middle_of_the_manifest(bench: Bench, prefect_environment: dict[str, str]) -> None:
    killed = bench.plain(PREFECT_IMAGINE_FAILPOINT="mid_manifest")
    assert killed.wait() == -signal.SIGKILL
    again = bench.cli(prefect_environment)
    assert again.wait() == 0, again.errors
    assert bench.problems() == []
    assert (bench.root / BATCH / "report.html").exists()


def test_killed_before_the_books_were_closed(bench: Bench, prefect_environment: dict[str, str]) -> None:
    """Everything is stored, and nothing says so but the journal."""
    assert bench.plain().wait() == 0
    for name in ("manifest.jsonl", "usage.json", "report.html"):
        (bench.root / BATCH / name).unlink()
    again = bench.cli(prefect_environment)
    assert again.wait() == 0, again.errors
    assert bench.problems() == []


def test_terminated_gently_it_ends_with_143_and_goes_on(
    bench: Bench, prefect_environment: dict[str, str]
) -> None:
    bench.sandbox.faults.add(FaultRule("cut_after", on="create", times=2))
    first = bench.cli(prefect_environment)
    assert first.until(lambda: bench.accepted >= 6), first.errors
    first.signal(signal.SIGTERM)
    assert first.wait() == 143, first.errors
    told = first.summary
    assert told["items"]["total"] == bench.prompts.total
    assert told["items"]["stored"] < bench.prompts.total
    again = bench.cli(prefect_environment)
    assert again.wait() == 0, again.errors
    assert bench.problems() == []


def test_a_second_run_at_once_ends_with_4(bench: Bench, prefect_environment: dict[str, str]) -> None:
    bench.sandbox.configure(latency=dict.fromkeys(KINDS, (3600.0, 3600.0)))  # it lives while the other begins
    first = bench.cli(prefect_environment)
    assert first.until(lambda: bench.accepted >= 2), first.errors
    second = bench.cli(prefect_environment)
    assert second.wait() == 4, second.errors
    assert "--wait" in second.summary["error"]
    bench.sandbox.configure(latency=dict.fromkeys(KINDS, (0.1, 0.1)))
    bench.sandbox.advance(7200)
    assert first.wait() == 0, first.errors
    assert bench.problems() == []


@pytest.mark.parametrize("at", [2, 7])
def test_stopped_taken_over_and_continued_it_creates_nothing_more(bench: Bench, at: int) -> None:
    first = bench.plain()
    assert first.until(lambda: bench.accepted >= at), first.errors
    first.signal(signal.SIGSTOP)
    second = bench.plain("--force")
    assert second.wait() == 0, second.errors
    done = bench.accepted
    first.signal(signal.SIGCONT)
    assert first.wait() == 4, first.errors
    assert bench.accepted == done
    assert bench.problems() == []


def test_killed_again_and_again_without_prefect(bench: Bench) -> None:
    """Many more moments than the command line's start allows."""
    bench.sandbox.faults.add(FaultRule("error_after", on="create", rate=0.1))
    for target in range(1, bench.prompts.total, 2):
        run = bench.plain()
        if run.until(lambda: bench.accepted >= target):  # noqa: B023 called at once
            run.kill()
    last = bench.plain()
    assert last.wait() == 0, last.errors
    assert bench.problems() == []


@pytest.mark.parametrize("where", ["cache/**/*.json", "outputs/**/lock"], ids=["pace", "lease"])
def test_a_stopped_process_that_holds_a_lock_holds_nobody_up(
    bench: Bench, tmp_path: Path, where: str
) -> None:
    """Stopped at the wrong moment it keeps the lock of a file until it goes on, or for ever."""
    first = bench.plain()
    assert first.until(lambda: bench.accepted >= 2), first.errors
    first.kill()
    files = list(tmp_path.glob(where))
    assert files
    with ExitStack() as held:
        for path in files:
            fcntl.flock(held.enter_context(path.open("r+b")), fcntl.LOCK_EX)
        second = bench.plain()
        assert second.wait(45) == 0, second.errors
    assert bench.problems() == []
