"""Makes docs/report.png: the report of the newest demo under ./outputs, opened in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,1500",
    "--virtual-time-budget=4000",
)


def main() -> None:
    """Take the picture."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    reports = sorted(Path("outputs").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    if browser is None or not reports:
        sys.exit("needs Chromium, and a report: run `make demo` first")
    target = Path("docs/report.png").absolute()
    with tempfile.TemporaryDirectory() as profile:
        page = reports[-1].absolute().as_uri()
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--screenshot={target}", page]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)


main()
