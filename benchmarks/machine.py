"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("prefect", "httpx", "pydantic", "boto3", "aiohttp")


def described(command: Sequence[str]) -> str:
    """The command, the machine and the versions, in a line each."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            f"Command: `{' '.join(command)}`",
            f"Machine: {os.cpu_count()} cores, {_memory()} GB, {platform.system()} {platform.machine()}; "
            f"load average at the start {os.getloadavg()[0]:.1f}",
            f"Versions: Python {platform.python_version()}, {versions}",
            "",
        ]
    )


def _memory() -> str:
    try:
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return "?"
    return f"{kilobytes / 1024**2:.0f}"
