"""Debian's Prometheus and promtool, and an exporter as a process that Prometheus scrapes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cli.commands import Shell

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ops/prometheus/rules.yml"
CONFIG = ROOT / "ops/prometheus/prometheus.yml"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
WITH_PROMETHEUS = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="needs Prometheus (Debian's package `prometheus`)"
)
SCRAPE_SECONDS = 1
PATIENCE = 120.0


def promtool(*words: str | Path, stdin: str | None = None) -> str:
    """What promtool says; it has to be content."""
    assert PROMTOOL is not None
    ended = subprocess.run(
        [PROMTOOL, *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@dataclass
class ExporterProcess:
    """`metrics serve` over a root, at one address from one life to the next."""

    shell: Shell
    root: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it is scraped."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin, and wait until it answers."""
        words = ("metrics", "serve", "--port", str(self.port), "--output", str(self.root))
        self._process = self.shell.start(*words)
        assert self._process.stderr is not None
        assert self.address in self._process.stderr.readline().decode()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()

    def scraped(self) -> str:
        """What a scrape answers."""
        answer = httpx.get(f"http://{self.address}/metrics", timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.text


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs."""

    url: str

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        found = self.api("query", query=expression)
        assert found["resultType"] == "vector", expression
        return list(found["result"])

    def values(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of an expression, by these labels."""
        return {
            tuple(each["metric"].get(label, "") for label in labels): float(each["value"][1])
            for each in self.query(expression)
        }

    def until(self, expression: str) -> None:
        """Wait until an expression has a result."""
        deadline = time.monotonic() + PATIENCE
        while not self.query(expression):
            assert time.monotonic() < deadline, f"never: {expression}"
            time.sleep(0.2)


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """Prometheus with our own configuration and rules, but for its targets and its haste.

    Args:
        targets: addresses to scrape instead of those of the configuration.
    """
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = dict.fromkeys(
        ("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{SCRAPE_SECONDS}s"
    )
    config["rule_files"] = [str(RULES)]
    for job in config["scrape_configs"]:
        for static in job["static_configs"]:
            static["targets"] = [targets[each] for each in static["targets"]]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    assert PROMETHEUS is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/-/ready", process, folder / "log")
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
