"""Commands that end by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.stack.service import LOG_BYTES, StackError

PREFECT = (sys.executable, "-m", "prefect")
COMMAND_SECONDS = 300.0


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    seconds: float = COMMAND_SECONDS,
) -> None:
    """Run a command to its end.

    Raises:
        StackError: it failed, or takes longer than these seconds.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0:
        what = f"is still running after {seconds:.0f} s" if code is None else f"ended with {code}"
        end = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
        raise StackError(f"{' '.join(command)} {what}:\n{end}")
