"""The Prefect server as several processes: one that migrates, web processes, and one of its services."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.stack.api import Api
from benchmarks.stack.command import PREFECT, run
from benchmarks.stack.service import Service

WEB_PROCESSES = 2
MIGRATION_SECONDS = 300.0
START_SECONDS = 300.0


def migrate(environment: Mapping[str, str], log: Path) -> None:
    """Give an empty database Prefect's tables."""
    run([*PREFECT, "server", "database", "upgrade", "-y"], environment, log.parent, log, MIGRATION_SECONDS)


def web(environment: Mapping[str, str], folder: Path, log: Path, port: int) -> Service:
    """The processes that answer the API and show the UI; not yet started."""
    api = Api(f"http://127.0.0.1:{port}/api")
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(WEB_PROCESSES)]
    return Service(
        "the Prefect server",
        [*PREFECT, "server", "start", *words],
        environment,
        folder,
        lambda _: api.is_healthy(),
        seconds=START_SECONDS,
        log=log,
    )


def services(environment: Mapping[str, str], folder: Path, log: Path) -> Service:
    """The process that schedules, keeps events and answers them; not yet started."""
    return Service(
        "the Prefect server's services",
        [*PREFECT, "server", "services", "start"],
        environment,
        folder,
        lambda service: b"Starting services" in service.said(),
        seconds=START_SECONDS,
        log=log,
    )
