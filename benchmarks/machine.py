"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("prefect", "httpx", "pydantic", "boto3", "aiohttp")


def described(command: Sequence[str]) -> str:
    """The command, the commit, the machine and the versions, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured with `{' '.join(command)}` at {_commit()} on {date.today()}: {os.cpu_count()} cores, "
        f"{_memory()} GB, {platform.system()} {platform.machine()}, load average at the start "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}."
    )


def _commit() -> str:
    """The commit that is checked out, with a plus where files have been changed since."""
    command = ["git", "describe", "--always", "--dirty=+"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "an unknown commit"


def _memory() -> str:
    try:
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return "?"
    return f"{kilobytes / 1024**2:.0f}"
