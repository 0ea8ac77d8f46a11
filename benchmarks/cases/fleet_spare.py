"""The same as `fleet`, at a quarter of the rate: what the processors can do does not decide."""

from __future__ import annotations

from benchmarks.cases.fleet import measured
from benchmarks.rig import Rig
from benchmarks.tables import Table


def measure(rig: Rig) -> Table:
    """What is used of a limit that leaves the processors room."""
    return measured(rig, "One batch over a fleet, with processors to spare", 1500, 5000, (2, 4))
