"""docs/dashboard.md: its shell blocks work, and its tables say what there is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from prefect_imagine.metrics import CATALOGUE
from tests.engine.engine_runs import Runs, numbered
from tests.metrics.expressions import rules
from tests.metrics.prometheus import ROOT, WITH_PROMETHEUS, free_port
from tests.operations.page import Terminal, shell_blocks

PAGE = ROOT / "docs/dashboard.md"


def test_the_page_lists_every_metric() -> None:
    rows = re.findall(r"^\| `(imagine_\w+)` \| (\w+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    labels = [", ".join(f"`{label}`" for label in spec.labels) or "–" for spec in CATALOGUE]  # noqa: RUF001
    assert rows == [
        (spec.name, spec.type, named, spec.help) for spec, named in zip(CATALOGUE, labels, strict=True)
    ]


def test_the_page_lists_every_alert() -> None:
    rows = re.findall(r"^\| `(Imagine\w+)` \| .+ \| (\w+) \|$", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {rule["alert"]: rule["labels"]["severity"] for rule in rules() if "alert" in rule}
    assert len(rows) == len(dict(rows))


@WITH_PROMETHEUS
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.long
def test_its_shell_blocks_work(tmp_path: Path, runs: Runs, store_folder: Path) -> None:
    asyncio.run(runs.run(numbered("aivisualstudio", 2)))
    shutil.copytree(ROOT / "ops", tmp_path / "ops")
    store_folder.rename(tmp_path / "outputs-demo")
    ports = {"127.0.0.1:9787": f"127.0.0.1:{free_port()}", "127.0.0.1:9090": f"127.0.0.1:{free_port()}"}
    port = ports["127.0.0.1:9787"].rpartition(":")[2]
    blocks = shell_blocks(PAGE.read_text(), {**ports, "metrics serve": f"metrics serve --port {port}"})
    home = tmp_path / "home"
    home.mkdir()
    terminal = Terminal(tmp_path, home, {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    try:
        printed = [terminal.run(block) for block in blocks]
    finally:
        terminal.signal(signal.SIGKILL)
    assert "imagine_credits_charged_total{" in printed[0]
    assert "SUCCESS" in printed[1]
    assert (tmp_path / "imagine.prom").read_text().count("# HELP imagine_") == len(CATALOGUE)
