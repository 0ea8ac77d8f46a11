"""The boot clock, where there is none by that name."""

from __future__ import annotations

import subprocess
import sys

MACOS = """
import sys, time
vars(time).pop("CLOCK_BOOTTIME", None)
from prefect_imagine.providers import clock
time.monotonic = lambda: -1e9  # it has stood still while the machine slept
sys.exit(abs(clock.boot_seconds() - time.clock_gettime(time.CLOCK_MONOTONIC)) > 5)
"""


def test_without_a_boot_clock_one_that_runs_through_sleep_is_taken() -> None:
    assert subprocess.run([sys.executable, "-c", MACOS], check=False).returncode == 0
