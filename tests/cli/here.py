"""Running the command line without a process of its own, where nothing of it is about processes."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_imagine.cli.commands import run
from prefect_imagine.reports.summary import BAD_INPUT
from tests.cli.commands import Ended, Shell, variables

_NEEDS_A_PROCESS = ("PREFECT_HOME", "PYTHON")
"""What is read when an interpreter begins, or when Prefect is first imported."""


class _Stream(io.TextIOWrapper):
    """A pipe's end."""

    def __init__(self, data: bytes = b"") -> None:
        self.bytes = io.BytesIO(data)
        super().__init__(self.bytes, encoding="utf-8", errors="backslashreplace", write_through=True)


@dataclass
class HereShell(Shell):
    """A shell that runs commands in the tests' own interpreter, which spares each of them the half second, or
    the seconds, that it takes to load. Those that are started, or whose environment makes an interpreter
    another one, still get a process.

    Attributes:
        here: tells which commands those are.
    """

    here: Callable[[list[str]], bool] = lambda words: True

    def run(self, *words: str | Path, stdin: str | bytes | None = None, **environment: str | None) -> Ended:
        named = [str(word) for word in words]
        alone = any(name.startswith(_NEEDS_A_PROCESS) for name in environment)
        if alone or self.program != Shell.program or not self.here(named):
            return super().run(*words, stdin=stdin, **environment)
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        out, err = _Stream(), _Stream()
        ours = variables({**self.environment, **environment})
        with ExitStack() as stack:
            stack.enter_context(_environment(ours))
            stack.enter_context(temporary_settings({PREFECT_API_URL: ours.get("PREFECT_API_URL")}))
            stack.enter_context(chdir(self.folder))
            stack.enter_context(_signals())
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(sys, "stdin", _Stream(data))
            try:
                code = run(named)
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
            if named[:1] in (["generate"], ["resume"]) and code != BAD_INPUT:
                _end_prefect()
        return Ended(code, out.bytes.getvalue().decode(), err.bytes.getvalue().decode())


def _end_prefect() -> None:
    """Let Prefect send what it does at an interpreter's end; its clients leave their sockets to the garbage
    collector."""
    EventsWorker.drain_all()
    APILogWorker.drain_all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals() -> Iterator[None]:
    """A command takes the signals to itself and, at its end, keeps them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
