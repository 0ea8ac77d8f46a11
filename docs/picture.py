"""Makes docs/report.png and docs/report-dark.png: the newest report under ./outputs, or under the
folder that is named, in the Chromium that is installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PICTURES = {"light": "report.png", "dark": "report-dark.png"}


def main(root: str = "outputs") -> None:
    """Take both pictures."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    reports = sorted(Path(root).glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    if path is None or not reports:
        sys.exit("needs Chromium, and a report: run `make demo` first")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.goto(reports[-1].absolute().as_uri(), wait_until="networkidle")
        for scheme, name in PICTURES.items():
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=Path(__file__).with_name(name))
        browser.close()


main(*sys.argv[1:])
