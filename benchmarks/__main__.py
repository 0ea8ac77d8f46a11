"""`python -m benchmarks [--quick] [--only NAME …] [--write]`."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback

from benchmarks.machine import described
from benchmarks.report import write
from benchmarks.rig import open_rig
from benchmarks.tables import Table

CASES = (
    "makespan",
    "learning",
    "requests",
    "processes",
    "machines",
    "keys",
    "pending",
    "webhooks",
    "overhead",
    "memory",
    "growth",
    "costs",
    "settled",
    "scrapes",
    "pipeline",
    "resume",
    "events",
    "fleet",
    "fleet_spare",
)


def main() -> None:
    """Measure, print each table as it comes, and write it down when asked. A case that breaks costs only
    itself, and the exit code is 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, fewer repeats")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--write", action="store_true", help="write them into docs/benchmarks.md")
    arguments = parser.parse_args()
    measured = described(
        ["make bench", f'ARGS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else ["make bench"]
    )
    print(measured, flush=True)
    broken: list[str] = []
    with open_rig(quick=arguments.quick) as rig:
        for name in arguments.only:
            try:
                table = _measured(name, rig)
            except Exception:
                traceback.print_exc()
                broken.append(name)
            else:
                print(table.markdown(), flush=True)
                if arguments.write:
                    write(measured, table)
    if broken:
        sys.exit(f"not measured: {', '.join(broken)}")


def _measured(name: str, rig: object) -> Table:
    module = importlib.import_module(f"benchmarks.cases.{name}")
    table: Table = module.measure(rig)
    return table


if __name__ == "__main__":
    main()
