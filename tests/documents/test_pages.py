"""The pages, followed by their readers: every block that can be run is run, in order, against the sandbox."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from tests.documents.blocks import ROOT
from tests.operations.page import Terminal, runnable_blocks
from tests.operations.site import QUICK, end_all, make_clone

pytestmark = pytest.mark.long
TUTORIAL, BUDGETS, README, SANDBOX, CONTRIBUTING, PROVIDERS = (
    ROOT / name
    for name in (
        "docs/tutorial.md",
        "docs/budgets.md",
        "README.md",
        "docs/sandbox.md",
        "CONTRIBUTING.md",
        "docs/providers.md",
    )
)
TWO_ROWS = "prompt\na red fox\na kite\n"


@contextmanager
def terminal_in(folder: Path, **environment: str) -> Iterator[Terminal]:
    """A person's terminal in a clone, in which everything is installed; nothing stays that it has started."""
    home = folder / "home"
    home.mkdir()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": programs, "LANG": "C.UTF-8", "PYTHONWARNINGS": "ignore", **QUICK, **environment}
    terminal = Terminal(make_clone(folder / "clone"), home, ours)
    try:
        yield terminal
    finally:
        end_all(terminal)


def followed(page: Path, terminal: Terminal, replacements: Mapping[str, str]) -> list[str]:
    """What each of a page's blocks has printed."""
    blocks = runnable_blocks(page.read_text(encoding="utf-8"), replacements)
    return [terminal.run(block) for block in blocks]


def free_port() -> str:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def a_person_who_approves(api_url: str) -> Iterator[list[str]]:
    """Says yes to every run that asks; gives their names."""
    approved: list[str] = []
    done = Event()

    def look() -> None:
        paused = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
        with httpx.Client(base_url=api_url) as http:
            while not done.wait(0.3):
                try:
                    for run in http.post("/flow_runs/filter", json=paused).json():
                        path = f"/flow_runs/{run['id']}/resume"
                        told = http.post(path, json={"run_input": {"approve": True}}).json()
                        if told["status"] == "ACCEPT":  # refused before the question is stored: asked again
                            approved.append(run["name"])
                except httpx.TransportError:
                    continue  # the server is not there yet

    person = Thread(target=look)
    person.start()
    try:
        yield approved
    finally:
        done.set()
        person.join()


def test_the_tutorial_leads_where_it_says(tmp_path: Path) -> None:
    port = free_port()
    values = {"4200": port, "YOUR-KEY": "avs_live_sandbox"}  # of the sandbox that the page has started
    approving = a_person_who_approves(f"http://127.0.0.1:{port}/api")
    with terminal_in(tmp_path) as terminal, approving as approved:
        printed = "\n".join(followed(TUTORIAL, terminal, values))
    assert approved == ["generate ideas"]
    text = TUTORIAL.read_text(encoding="utf-8")
    for said in (
        "24 of 24 stored",
        "4 of 4 stored",
        "aivisualstudio  image  prunaai/z-image-turbo      4       20  catalog",
        "batch ideas has nothing left to do",
        "batch ideas: +1 items: aivisualstudio 5 credits; 4 kept, 0 withdrawn",
        "batch ideas waits to be approved: 2 items: aivisualstudio 10 credits",
        "7 of 7 stored",
    ):
        assert said in text, said
        assert said in printed, said
    assert '"charged": 35' in printed


def test_budgets_are_kept_as_the_page_says(
    tmp_path: Path, sandbox: RunningSandbox, prefect_environment: dict[str, str]
) -> None:
    with terminal_in(tmp_path, **prefect_environment, **sandbox.environment) as terminal:
        printed = followed(BUDGETS, terminal, {})
    stopped, resumed, herons, budget, otters, raised, _, balance, report, left, lake, credits = printed
    text = BUDGETS.read_text(encoding="utf-8")
    for said in ("2 of 4 stored, 2 planned", "would pass max_credits: 10 of 12 are spent or set aside"):
        assert said in text
        assert said in stopped
    assert "4 of 4 stored" in resumed
    assert "10 charged, 2 estimated" in herons
    assert "10 charged, 2 estimated" in text
    assert re.search(r"team +aivisualstudio +\S+ \(Europe/Berlin\) +40 +30 +0 +0 +0 +10", budget)
    assert "2 of 4 stored, 2 planned" in otters
    assert "budget 'team'" in otters
    assert re.search(r"team +aivisualstudio +\S+ \(Europe/Berlin\) +40 +40 +0 +0 +0 +0 ", otters)
    assert "4 of 4 stored" in raised
    assert "imaginelab" in balance
    assert "budget team is removed" in raised
    assert "3 batches since" in report
    assert "Left" in left
    for said in ("0.12 EUR (price list, as of 2026-11-01)", "0.12 EUR (price list)"):
        assert said in lake
    assert "0.60 EUR (given afterwards), 0.12 EUR (price list)" in credits


def test_the_readme_works(
    tmp_path: Path, sandbox: RunningSandbox, s3_server: S3Server, prefect_environment: dict[str, str]
) -> None:
    environment = {**prefect_environment, **sandbox.environment, **s3_server.environment}
    store = '    return await store_outputs(await fetch_outputs(ended), "./kites")\n'
    values = {
        "s3://bucket": f"s3://{s3_server.make_bucket()}",
        "YOUR-KEY": sandbox.environment["AIVISUALSTUDIO_API_KEY"],
        store: f"{store}\n\nimport asyncio\nprint(asyncio.run(own_flow()))\n",
    }
    with terminal_in(tmp_path, **environment) as terminal:
        (terminal.folder / "prompts.csv").write_text(TWO_ROWS)
        demo, own, foxes, kites = followed(README, terminal, values)
        assert list((terminal.folder / "kites").rglob("*.*"))
    assert "24 of 24 stored" in demo
    assert "Estimate: nothing was created" in own
    assert "2 of 2 stored" in own
    assert re.search(r"^1 5 s3://", foxes, re.MULTILINE), foxes
    assert "media_type='image/" in kites


@pytest.mark.parametrize("page", [SANDBOX, CONTRIBUTING], ids=lambda page: str(page.name))
def test_small_pages_work(page: Path, tmp_path: Path) -> None:
    with terminal_in(tmp_path) as terminal:
        assert followed(page, terminal, {})


def test_the_provider_of_the_page_passes_the_contract(tmp_path: Path) -> None:
    """Its three blocks are a module and its test."""
    found = re.findall(r"^```python\n(.*?)^```$", PROVIDERS.read_text(encoding="utf-8"), re.M | re.S)
    client, specification, contract = found
    (tmp_path / "my_package.py").write_text(
        f"from __future__ import annotations\n\n{client}\n{specification}"
    )
    own = "from my_package import *  # noqa: F403\n"
    (tmp_path / "test_mine.py").write_text(f"{own}{contract}")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert re.search(r"\d\d passed", run.stdout)
    assert 'mine = "my_package:SPEC"' in PROVIDERS.read_text(encoding="utf-8")
