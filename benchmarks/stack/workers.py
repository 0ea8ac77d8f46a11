"""Process workers of a pool, and what is deployed to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.stack.api import Api
from benchmarks.stack.command import PREFECT, run
from benchmarks.stack.service import Service

ROOT = Path(__file__).parents[2]
POOL = "imagine"
"""The pool of `prefect.yaml`."""
CONTROL = "imagine-control"
"""That of what stops, mends and collects."""
START_SECONDS = 300.0


def deploy(environment: Mapping[str, str], folder: Path, log: Path, pool: str, output: str) -> None:
    """Make the pools, and deploy `prefect.yaml` with two changes: everything is stored under `output`, and
    nothing runs unless it is asked for."""
    wanted: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools = set()
    for each in wanted["deployments"]:
        each.pop("schedules", None)
        if "output" in each.get("parameters", {}):
            each["parameters"]["output"] = output
        if each["work_pool"]["name"] == POOL:
            each["work_pool"] = {**each["work_pool"], "name": pool}
        pools.add(each["work_pool"]["name"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prefect.yaml").write_text(yaml.safe_dump(wanted, sort_keys=False))
    for name in sorted({pool, *pools}):
        run([*PREFECT, "work-pool", "create", name, "--type", "process"], environment, folder, log)
    run([*PREFECT, "--no-prompt", "deploy", "--all"], environment, folder, log)


def worker(name: str, pool: str, environment: Mapping[str, str], folder: Path, log: Path) -> Service:
    """A worker that runs one flow run at a time; not yet started.

    It works in `folder`, as if on a machine of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    api = Api(environment["PREFECT_API_URL"])
    words = ["--pool", pool, "--name", name, "--type", "process", "--limit", "1"]
    return Service(
        name,
        [*PREFECT, "worker", "start", *words],
        environment,
        folder,
        # The server takes one that was killed for online for a while.
        lambda service: b"started!" in service.said() and api.is_online(pool, name),
        seconds=START_SECONDS,
        log=log,
    )
