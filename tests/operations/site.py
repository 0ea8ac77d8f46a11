"""What somebody has who has followed docs/operations.md: a server, a worker, deployments, and a bucket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Store
from tests.operations.page import Terminal, shell_blocks

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/operations.md"
FOLLOWED = (PAGE, ROOT / "docs/webhooks.md")
"""One after the other: the second goes on where the first ends."""
BUCKET = "operations"
WAIT_SECONDS = 300.0
ANSWER_SECONDS = 240.0
"""A Prefect server whose SQLite is locked answers nothing for a minute."""
END_SECONDS = 10.0
SET_UP_APART = pytest.mark.timeout(1200, func_only=True)
"""Following the page and what its fixtures wait for have deadlines of their own."""
_NEEDED = ("Makefile", "constraints.txt", "prefect.yaml", "pyproject.toml")
QUICK = {
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "20",  # of what a busy server answers with 503
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_CLI_WRAP_LINES": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "TZ": "UTC",
}


@dataclass(frozen=True)
class Site:
    """A running installation.

    Attributes:
        printed: what each block of the page has printed, in order.
    """

    terminal: Terminal
    api_url: str
    sandbox: RunningSandbox
    store: Store
    printed: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """What the Prefect API answers; 503 means that its database is busy and nothing was done. What only
        reads is asked again, too, where a busy server closes the connection or takes too long."""
        reads = method == "GET" or path.endswith("/filter")
        deadline = time.monotonic() + WAIT_SECONDS
        with httpx.Client(base_url=self.api_url, timeout=ANSWER_SECONDS) as http:
            while True:
                try:
                    answer = http.request(method, path, json=body)
                except httpx.TransportError:
                    if not reads or time.monotonic() > deadline:
                        raise
                else:
                    if answer.status_code != 503 or time.monotonic() > deadline:
                        break
                time.sleep(0.1)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> str:
        """The id of a deployment, by `flow/name`."""
        return str(self.request("GET", f"/deployments/name/{name}")["id"])

    def run(self, name: str, *, environment: Mapping[str, str] | None = None, **parameters: Any) -> str:
        """Start a run of a deployment, its process with more environment variables; gives its id."""
        path = f"/deployments/{self.deployment(name)}/create_flow_run"
        variables = {"env": dict(environment)} if environment else {}
        body = {"parameters": parameters, "job_variables": variables}
        return str(self.request("POST", path, body)["id"])

    def flow_run(self, run: str) -> dict[str, Any]:
        """A flow run as it stands."""
        found: dict[str, Any] = self.request("GET", f"/flow_runs/{run}")
        return found

    def runs(self, deployment: str, before: datetime | None = None) -> list[dict[str, Any]]:
        """All runs of a deployment that are due before a time, or have been until now, oldest first."""
        until_then = (before or datetime.now(UTC)).isoformat()
        due = {"expected_start_time": {"before_": until_then}}
        body = {
            "deployments": {"id": {"any_": [self.deployment(deployment)]}},
            "flow_runs": due,
            "sort": "EXPECTED_START_TIME_ASC",
        }
        found: list[dict[str, Any]] = self.request("POST", "/flow_runs/filter", body)
        return found

    def in_state(self, run: str, *names: str) -> dict[str, Any]:
        """The flow run, once it is in one of these states; with no names, in a final one."""
        final = ("Completed", "Failed", "Cancelled", "Crashed", "Partial")

        def there() -> dict[str, Any] | None:
            found = self.flow_run(run)
            return found if found["state_name"] in (names or final) else None

        return until(there, f"run {run} to be {' or '.join(names) or 'ended'}")

    def log(self, run: str) -> str:
        """What a flow run has logged, which may take a while to arrive."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}}
        lines: list[dict[str, Any]] = self.request("POST", "/logs/filter", wanted)
        return "\n".join(line["message"] for line in lines)

    def jobs(self, prompts: Iterable[str], provider: str) -> list[dict[str, Any]]:
        """What a provider's books hold for some prompts."""
        wanted = set(prompts)
        told = self.sandbox.report(sums=False, provider=provider)["jobs"]
        return [job for job in told if job["prompt"] in wanted]

    def read_json(self, key: str) -> Any:
        """A JSON file of the store."""
        data = self.store.read(key)
        assert data is not None, key
        return json.loads(data)

    def assert_books_are_exact(self, batch_id: str, prompts: Iterable[str], provider: str) -> None:
        """Each prompt was stored, accepted and charged once, and the bill says the same."""
        asked = Counter(prompts)
        jobs = self.jobs(asked, provider)
        assert Counter(job["prompt"] for job in jobs) == asked
        usage = self.read_json(f"{batch_id}/usage.json")
        assert (usage["items"], usage["stored"]) == (asked.total(), asked.total())
        assert usage["charged"] == sum(job["credits"] for job in jobs)
        assert len(list(self.store.list(f"{batch_id}/outputs/"))) == asked.total()


def until(look: Callable[[], T | None], what: str) -> T:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


def make_clone(folder: Path) -> Path:
    """A folder with what the page needs of a clone, installed already."""
    folder.mkdir()
    for name in _NEEDED:
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.prefix) / "bin")
    (folder / ".venv/.installed").touch()
    return folder


@contextmanager
def followed_page(folder: Path, sandbox: RunningSandbox, s3: S3Server, store: Store) -> Iterator[Site]:
    """Follow the page to its end; nothing that it has started is left afterwards."""
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, receiver = (str(each.getsockname()[1]) for each in (probe, other))
    home = folder / "home"
    home.mkdir()
    ours = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **QUICK}
    terminal = Terminal(make_clone(folder / "clone"), home, ours)
    site = Site(terminal, f"http://127.0.0.1:{port}/api", sandbox, store)
    try:
        text = "\n".join(page.read_text() for page in FOLLOWED)
        for block in shell_blocks(text, _values(port, receiver, sandbox, s3)):
            site.printed.append(terminal.run(block))
        yield site
    finally:
        end_all(terminal)


def _values(port: str, receiver: str, sandbox: RunningSandbox, s3: S3Server) -> dict[str, str]:
    """The reader's own ports, bucket and keys."""
    key, address = sandbox.environment["AIVISUALSTUDIO_API_KEY"], sandbox.base_urls["aivisualstudio"]
    aws = "AWS_ACCESS_KEY_ID=YOUR-KEY-ID\nAWS_SECRET_ACCESS_KEY=YOUR-SECRET\nAWS_REGION=us-east-1\n"
    return {
        "4200": port,
        "8787": receiver,
        "YOUR-BUCKET": BUCKET,
        aws: _lines(s3.environment),
        "AIVISUALSTUDIO_API_KEY=YOUR-KEY\n": _lines(sandbox.environment),
        'api_key="YOUR-KEY"': f'api_key="{key}", base_url="{address}"',
    }


def _lines(environment: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in environment.items())


def end_all(terminal: Terminal) -> None:
    """End the worker first, so that it can end its runs, and then whatever is left."""
    for number, words in ((signal.SIGTERM, "worker start"), (signal.SIGTERM, ""), (signal.SIGKILL, "")):
        deadline = time.monotonic() + END_SECONDS
        terminal.signal(signal.SIGCONT, words=words)
        terminal.signal(number, words=words)
        while terminal.processes(words=words) and time.monotonic() < deadline:
            time.sleep(0.05)
