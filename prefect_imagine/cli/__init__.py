"""The command line. Its contract (options, exit codes, `--json`) is in docs/cli.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    from prefect_imagine.cli.commands import run

    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))
