"""Running the command line as its users do: as a process, judged by exit code, stdout and stderr alone."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_imagine.sandbox import RunningSandbox

END_SECONDS = 240.0
# What a person's shell holds that must not reach a test's processes.
_NOT_OURS = (
    *("AWS_", "PREFECT_", "IMAGINE", "BLOCKADELABS_", "AIVISUALSTUDIO_"),
    *("COLUMNS", "FORCE_COLOR", "OTEL_", "TRACEPARENT"),
)


def variables(changed: Mapping[str, str | None]) -> dict[str, str]:
    """The environment of a command: a person's own, without what must not reach it, and with these variables.
    One that is `None` is not set."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    return {**ours, **{name: value for name, value in changed.items() if value is not None}}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> dict[str, Any]:
        """The object that `--json` puts on the last line of stdout."""
        found: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return found

    @property
    def errors(self) -> list[str]:
        """What stderr complains of."""
        return [line for line in self.stderr.splitlines() if line.startswith("error:")]


@dataclass
class Shell:
    """A working folder and an environment to run commands in."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = (sys.executable, "-m", "prefect_imagine")

    def run(self, *words: str | Path, stdin: str | bytes | None = None, **environment: str | None) -> Ended:
        """Run a command to its end; an environment variable of `None` is not set."""
        process = self.start(*words, **environment)
        return self.end(process, stdin)

    def watch(self, *words: str | Path) -> Ended:
        """Run a command whose stderr is a terminal of 80 columns."""
        process, terminal = self.start_at_terminal(*words)
        seen = read_terminal(terminal)
        stdout, _ = process.communicate(timeout=END_SECONDS)
        return Ended(process.returncode, stdout.decode(), seen.decode())

    def start(self, *words: str | Path, **environment: str | None) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        return self._start(words, environment, stderr=subprocess.PIPE)

    def start_at_terminal(self, *words: str | Path) -> tuple[subprocess.Popen[bytes], int]:
        """Start a command whose stderr is a terminal of 80 columns; the terminal's other end."""
        ours, theirs = pty.openpty()
        process = self._start(words, {"COLUMNS": "80", "TERM": "xterm"}, stderr=theirs)
        os.close(theirs)
        return process, ours

    def _start(
        self, words: Iterable[str | Path], environment: Mapping[str, str | None], stderr: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.program, *map(str, words)],
            cwd=self.folder,
            env=variables({**self.environment, **environment}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[bytes], stdin: str | bytes | None = None) -> Ended:
        """Wait for a command's end."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            stdout, stderr = process.communicate(data, timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, stderr = process.communicate()
            raise AssertionError(f"still running: {stderr.decode(errors='replace')}") from None
        ended = Ended(process.returncode, stdout.decode(), stderr.decode())
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def write(self, name: str, text: str | bytes) -> Path:
        """Make a file in the working folder."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path


def read_terminal_until(descriptor: int, words: bytes) -> bytes:
    """What is written to a terminal up to these words."""
    seen = b""
    while words not in seen:
        seen += os.read(descriptor, 65536)
    return seen


def read_terminal(descriptor: int) -> bytes:
    """What is written to a terminal until nobody has it open any more."""
    seen = b""
    with (
        os.fdopen(descriptor, "rb", buffering=0) as terminal,
        suppress(OSError),
    ):  # that is Linux's end of file
        while piece := terminal.read(65536):
            seen += piece
    return seen


CONTRACT: Mapping[str, object] = {
    "batch_id": str,
    "items": {"total", "stored", "failed", "unknown", "under_way", "planned", "withdrawn"},
    "credits": {"charged", "estimated"},
    "unpriced_items": int,
    "requests": {"create", "poll", "fetch", "history", "other"},
    "manifest": str,
    "report": str,
    "error": (str, type(None)),
}


def assert_contract(ended: Ended) -> dict[str, Any]:
    """The last line of stdout is the contract's object, with its keys and no others; `plan` is there where
    prompts were compared with a batch."""
    found = dict(ended.last)
    plan = found.pop("plan", None)
    assert plan is None or set(plan) == {"new", "kept", "withdrawn"}
    assert set(found) == set(CONTRACT)
    for name, kind in CONTRACT.items():
        if isinstance(kind, set):
            assert set(found[name]) == kind
            assert all(isinstance(value, int | float) for value in found[name].values())
        else:
            assert isinstance(found[name], kind)  # type: ignore[arg-type]
    return ended.last


def assert_refused(ended: Ended, *says: str) -> dict[str, Any]:
    """Exit 2 with one clear message, on stderr and in the object, and nothing done."""
    assert ended.code == 2, ended
    found = assert_contract(ended)
    assert len(ended.errors) == 1, ended.stderr
    assert found["error"]
    for text in says:
        assert text in found["error"]
        assert text in ended.stderr
    assert set(found["requests"].values()) == {0}
    return found


def requests(sandbox: RunningSandbox) -> int:
    """All requests that the four APIs have had."""
    counted = sandbox.report(jobs=False)["requests"]
    return sum(count for by_operation in counted.values() for count in by_operation.values())


def until(condition: Callable[[], bool], seconds: float = END_SECONDS) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
