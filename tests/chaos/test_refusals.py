"""Providers that refuse and fail much, fall back to each other and lose answers, while the run is killed
again and again: nothing is paid for twice, and each provider's credits are on its own lines of the bill."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.books import manifest
from tests.chaos.command import Run

pytestmark = pytest.mark.long
LAB, STUDIO = "imaginelab", "aivisualstudio"
EACH = 30
KILLS = 12
RESEEDS = 1


class Killed:
    """A batch whose process is killed and started again."""

    def __init__(self, folder: Path, sandbox: RunningSandbox) -> None:
        self.root = folder / "outputs"
        self.sandbox = sandbox
        self._file = folder / "prompts.jsonl"
        self._log = folder / "run"
        self._environment = {**sandbox.environment, "XDG_CACHE_HOME": str(folder / "cache")}
        rows = [
            {
                "provider": first,
                "prompt": f"{first} {number}",
                "on_refusal": f"reseed: {RESEEDS}; fallback: {other}",
            }
            for number in range(EACH)
            for first, other in ((LAB, STUDIO), (STUDIO, LAB))
        ]
        self._file.write_text("\n".join(map(json.dumps, rows)))
        self.run = self.start()

    def start(self) -> Run:
        """Run the batch, or go on with it."""
        arguments = [str(self._file), str(self.root), "batch"]
        self.run = Run(arguments, self._environment, self._log, module="tests.chaos.plain")
        return self.run

    def kill(self, dice: random.Random) -> None:
        """Kill the process at some moment, and start it again."""
        target = self.sent + dice.randrange(1, 12)
        self.run.until(lambda: self.sent >= target)
        Event().wait(dice.choice((0, 0.02, 0.1)))
        self.run.end()
        self.start()

    @property
    def sent(self) -> int:
        """Creates so far."""
        return sum(sent["create"] for sent in self.sandbox.books.requests.values())


@pytest.fixture
def killed(tmp_path: Path, sandbox: RunningSandbox) -> Iterator[Killed]:
    sandbox.configure(
        rate_limits={LAB: RateLimit(), STUDIO: RateLimit()},
        latency={"image": (0.1, 0.6)},
        history_lag_seconds=0.2,
        refund_failed=False,
    )
    for provider in (LAB, STUDIO):
        sandbox.faults.add(FaultRule("refused", provider=provider, rate=0.2))
        sandbox.faults.add(FaultRule("job_fails", provider=provider, rate=0.2))
        sandbox.faults.add(FaultRule("cut_after", provider=provider, on="create", rate=0.04))
    batch = Killed(tmp_path, sandbox)
    yield batch
    batch.run.end()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_nothing_is_paid_twice_and_each_bill_is_exact(killed: Killed) -> None:
    dice = random.Random(8)
    for _ in range(KILLS):
        killed.kill(dice)
    killed.run.wait()
    assert killed.start().wait() in (0, 1), "a further run has nothing to do"
    books = killed.sandbox.report()
    accepted = Counter((job["provider"], job["prompt"]) for job in books["jobs"])
    succeeded = Counter(job["prompt"] for job in books["jobs"] if job["status"] == "succeeded")
    lines = manifest(open_store(str(killed.root)), "batch")
    assert {line["status"] for line in lines} <= {"stored", "failed"}
    assert succeeded == Counter(line["request"]["prompt"] for line in lines if line["status"] == "stored")
    assert max(accepted.values()) <= 1 + RESEEDS
    assert any(line["instead_of"] for line in lines), "nothing was refused"
    usage = json.loads(open_store(str(killed.root)).read("batch/usage.json") or b"")
    assert {line["name"]: line["charged"] for line in usage["by_provider"]} == {
        name: amount for name, amount in books["charged"].items() if name in (LAB, STUDIO)
    }
    assert usage["unknown"] == 0
