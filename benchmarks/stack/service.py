"""A program in a session of its own, which can be killed with all that it has started, and started again."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from benchmarks.stack.signals import postponed

MARK = "IMAGINE_STACK_SERVICE"
"""The variable that says of a process which service has started it."""
PORTS = range(20_000, 32_000)
"""Below what systems hand out by themselves, so that nobody takes a service's port while it is restarted."""
END_SECONDS = 20.0
LOOK_SECONDS = 0.2
LOG_BYTES = 4000


class StackError(RuntimeError):
    """A service ended, or did not answer in time; the message has the end of its log."""


def free_port() -> int:
    """A port of `PORTS` that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


class Service:
    """A program that is started, looked at and ended as one, whatever processes it consists of.

    Attributes:
        log: the file that all of them write to; a restart appends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        is_ready: Callable[[Service], bool],
        *,
        seconds: float,
        log: Path,
        end_with: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`folder` is where it works, `seconds` how long it may take until `is_ready`."""
        self.name, self.log = name, log
        self._command, self._folder = list(command), folder
        self._mark = str(uuid4())
        self._environment = {**environment, MARK: self._mark}
        self._is_ready, self._seconds, self._end_with = is_ready, seconds, end_with
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end = False
        self._logged_before = 0

    @property
    def pid(self) -> int:
        """The process that was started; the others are its children."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it; `wait` waits until it can be used."""
        with self.log.open("ab") as log, postponed():
            self._logged_before, self._told_to_end = log.tell(), False
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it can be used.

        Raises:
            StackError: it ended, or takes too long.
        """
        assert self._process is not None, f"{self.name} was not started"
        deadline = time.monotonic() + self._seconds
        while not self._is_ready(self):
            if self._process.poll() is not None:
                raise StackError(f"{self.name} ended with {self._process.returncode}:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} is not there after {self._seconds:.0f} s:\n{self.log_end()}")
            time.sleep(LOOK_SECONDS)

    def restart(self) -> None:
        """End it, start it again, and wait for it."""
        self.end()
        self.start()
        self.wait()

    def tell_to_end(self) -> None:
        """Ask the process that was started to end, and wait for nothing. It is asked once: to a worker a
        second time means at once."""
        if self._process is not None and self._process.poll() is None and not self._told_to_end:
            self._told_to_end = True
            self._process.send_signal(self._end_with)

    def end(self, seconds: float = END_SECONDS) -> None:
        """End it, and kill what is left of it after these seconds."""
        self.tell_to_end()
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS / 4)
        self.kill()

    def kill(self) -> None:
        """`kill -9` all of its processes, also those that are begun meanwhile."""
        while found := self.processes():
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_SECONDS / 10)
        if self._process is not None:
            self._process.wait()
        # Its number may be another's from here on.
        self._process = None

    def processes(self) -> list[int]:
        """All of its processes that live: those of its session, and what has its mark in another session."""
        if self._process is None:
            return []
        self._process.poll()
        return [
            int(each.name)
            for each in Path("/proc").iterdir()
            if each.name.isdecimal() and self._is_ours(each)
        ]

    def memory(self) -> dict[int, int]:
        """Resident bytes of each of its processes."""
        return {pid: resident for pid in self.processes() if (resident := _resident(pid))}

    def said(self) -> bytes:
        """What it has logged since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._logged_before)
            return log.read()

    def log_end(self) -> str:
        """The last lines of its log."""
        return self.log.read_bytes()[-LOG_BYTES:].decode(errors="replace")

    def _is_ours(self, process: Path) -> bool:
        try:
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if state in "ZX":
                return False
            # A database's title overwrites its environment, and a flow run has a session of its own.
            marked = f"{MARK}={self._mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            return marked or int(session) == self.pid
        except OSError:  # it has ended, or is somebody else's
            return False


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
