"""Who a process is, so that another one can find out whether it still lives."""

from __future__ import annotations

import os
import socket
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

from prefect_imagine.providers.models import Frozen


class ProcessIdentity(Frozen):
    """One attempt of one process to run a batch. Never reused: not even by the same flow run.

    Attributes:
        token: no other attempt has the same.
        host: the name of its machine.
        boot: which start of that machine it lives in.
        pid: its number there.
        started: when it was started, as the machine tells it.
    """

    token: str
    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> ProcessIdentity:
        """This process, with a new token."""
        return cls(
            token=uuid.uuid4().hex,
            host=host_name(),
            boot=boot_id(),
            pid=os.getpid(),
            started=_started(os.getpid()) or "",
        )

    @property
    def surely_dead(self) -> bool:
        """Whether this process is known to be gone: it ran on this boot of this host, and its pid is free
        or belongs to a process that started at another time."""
        return self._here and _started(self.pid) != self.started

    @property
    def surely_running(self) -> bool:
        """Whether this process is known to run: on this boot of this host, and not stopped by a signal."""
        return self._here and _started(self.pid) == self.started and _stat(self.pid)[0] not in ("T", "t")

    @property
    def is_this_process(self) -> bool:
        """Whether this is, under whatever token, the process that asks."""
        return self._here and self.pid == os.getpid() and self.started == _started(self.pid)

    @property
    def _here(self) -> bool:
        return bool(self.boot) and self.boot == boot_id()


@cache
def host_name() -> str:
    """This host's name, for people."""
    return socket.gethostname()


@cache
def boot_id() -> str:
    """Names this boot of this host and its process namespace: a container's pids mean nothing outside it.
    Empty where the system does not show it."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str | None:
    stat = _stat(pid)
    # A zombie writes nothing any more.
    return None if stat[0] in ("", "Z", "X") else stat[19]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; one empty field if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [""]
    return stat.rpartition(")")[2].split()
