"""`python -m benchmarks.stack.serve s3 FOLDER` and `… sandbox SETTINGS` serve until SIGTERM, after a line of
JSON that says where they are."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect_imagine.sandbox import SandboxSettings, running_sandbox
from prefect_imagine.sandbox.server.s3 import start_s3_server


def _serve(kind: str, argument: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if kind == "s3":
        with start_s3_server(Path(argument)) as server:
            _say_and_stay(asdict(server))
    else:
        with running_sandbox(SandboxSettings(**json.loads(argument))) as running:
            _say_and_stay({"url": running.url, "environment": running.environment})


def _say_and_stay(where: Mapping[str, Any]) -> None:
    print(json.dumps(where), flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
