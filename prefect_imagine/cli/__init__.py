"""The command line. Its contract (options, exit codes, `--json`) is in docs/cli.md."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a prompt may hold what the terminal cannot show
    try:
        from prefect_imagine.cli.commands import run

        code = run(list(sys.argv[1:] if arguments is None else arguments))
        # How it ended is decided: another Ctrl-C must not turn that into an abort of the interpreter.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # while still loading
        code = 130
    sys.exit(code)
