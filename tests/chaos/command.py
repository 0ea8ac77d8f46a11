"""The real command line as a process that can be killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 500.0
PROVIDERS = ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio")
TIMING = "deadline=2,create=3,settle=1"
"""Proves absence after 6 seconds instead of 90."""


@dataclass(frozen=True)
class Prompts:
    """A prompts file, and all that it asks for in the end: provider and prompt."""

    path: Path
    rows: Sequence[tuple[str, str]]

    @property
    def asked(self) -> Mapping[tuple[str, str], int]:
        """How often it asks for each."""
        return Counter(self.rows)

    @property
    def total(self) -> int:
        """How many generations it asks for."""
        return len(self.rows)

    def write(self, rows: Sequence[tuple[str, str]] | None = None) -> None:
        """Let the file hold some of its rows, or all, from one moment to the next."""
        new = self.path.with_suffix(".new")
        with new.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("provider", "prompt"))
            writer.writerows(self.rows if rows is None else rows)
        new.replace(self.path)


def write_prompts(path: Path, each: int, providers: Sequence[str] = PROVIDERS) -> Prompts:
    """So many prompts a provider, the first of them three times over."""
    rows = [
        (provider, f"{provider} picture {max(0, number - 2)}")
        for number in range(each)
        for provider in providers
    ]
    prompts = Prompts(path, rows)
    prompts.write()
    return prompts


class Run:
    """One run of a module, the command line's unless said otherwise, in a process group of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        module: str = "prefect_imagine",
    ) -> None:
        self._out = log.with_suffix(".out")
        self._err = log.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **environment},
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process, which leads its group."""
        return self._process.pid

    def until(self, ready: Callable[[], bool]) -> bool:
        """Watch until something holds (true) or the process has ended (false)."""
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            if ready():
                return True
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"a run takes too long:\n{self.errors}")
            time.sleep(0.01)
        return False

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as a terminal or a container's end would send it."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self.kill()

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise TimeoutError(f"a run takes too long:\n{self.errors}") from error

    @property
    def summary(self) -> dict[str, Any]:
        """What `--json` says on the last line."""
        found: dict[str, Any] = json.loads(self._out.read_text().splitlines()[-1])
        return found

    @property
    def errors(self) -> str:
        """What all runs with this log said to people."""
        return self._err.read_text(errors="replace")
