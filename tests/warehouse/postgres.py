"""A PostgreSQL server of Debian's, for as long as a test session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian keeps its versions."""
USER = "postgres"


def missing() -> str:
    """Why there can be no server here; empty if there can."""
    if not PROGRAMS:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL refuses root, and there is no setpriv"
    return ""


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """A server in a folder of its own; gives its address."""
    programs, data = PROGRAMS[-1], folder / "data"
    as_root = os.geteuid() == 0
    prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if as_root else []
    if as_root:
        shutil.chown(folder, USER, USER)

    def run(program: str, *words: str) -> None:
        command = [*prefix, str(programs / program), *words]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=120)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run("initdb", "-D", str(data), "-U", "imagine", "-A", "trust", "--no-sync")
    settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        yield f"postgresql://imagine:-@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
