"""What a batch meets outside of Prefect, each a process of its own: a bucket, and the sandbox's providers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack.service import Service
from benchmarks.stack.settings import base
from prefect_imagine.sandbox.server.s3 import S3Server

ROOT = Path(__file__).parents[2]
START_SECONDS = 120.0
BUCKET = "imagine"
_TOLD = re.compile(rb"^\{.*\}$", re.MULTILINE)


def s3(folder: Path, log: Path) -> Service:
    """SeaweedFS, not yet started."""
    return _service("S3", ["s3", str(folder)], folder, log)


def sandbox(folder: Path, log: Path, settings: Mapping[str, Any]) -> Service:
    """The four APIs with these settings (see `SandboxSettings`), not yet started."""
    return _service("sandbox", ["sandbox", json.dumps(dict(settings))], folder, log)


def s3_server(service: Service) -> S3Server:
    """Where the bucket is, once its service can be used; the bucket is made."""
    server = S3Server(**_told(service))
    server.make_bucket(BUCKET)
    return server


class Providers:
    """The sandbox, once its service can be used.

    Attributes:
        environment: what leads clients to it.
    """

    def __init__(self, service: Service) -> None:
        told = _told(service)
        self.url: str = told["url"]
        self.environment: dict[str, str] = told["environment"]

    def books(self, *, jobs: bool = False) -> dict[str, Any]:
        """What it has seen (`GET /_sandbox/books`), without its jobs unless they are asked for."""
        answer = httpx.get(f"{self.url}/_sandbox/books", params={"jobs": int(jobs), "sha256": 0}, timeout=60)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def configure(self, **changes: Any) -> None:
        """Change its settings from now on."""
        httpx.patch(f"{self.url}/_sandbox/settings", json=changes, timeout=60).raise_for_status()


def _service(name: str, words: list[str], folder: Path, log: Path) -> Service:
    folder.mkdir(parents=True, exist_ok=True)
    return Service(
        name,
        [sys.executable, "-m", "benchmarks.stack.serve", *words],
        base(folder),
        ROOT,
        lambda service: _TOLD.search(service.said()) is not None,
        seconds=START_SECONDS,
        log=log,
    )


def _told(service: Service) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_TOLD.findall(service.said())[0])
    return told
