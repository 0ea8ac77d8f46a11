"""The one clock of a machine that nobody sets and that runs on while the machine sleeps."""

from __future__ import annotations

import time

# macOS has none by this name: its CLOCK_MONOTONIC runs through sleep, and `time.monotonic` does not.
BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""For `time.clock_gettime`."""
