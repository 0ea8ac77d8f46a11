"""What lies in ops/fleet: a compose file, and templates for the jobs of work pools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FLEET = ROOT / "ops/fleet"
COMPOSE = FLEET / "compose.yaml"
TEMPLATES = {"kubernetes": FLEET / "kubernetes-job.json", "ecs": FLEET / "ecs-job.json"}
"""By the type of pool that they are for."""
ROLE = "arn:aws:iam::123456789012:role/imagine"
REQUIRED: dict[str, dict[str, Any]] = {
    "kubernetes": {"image": "registry.invalid/prefect-imagine:0.1.0"},
    "ecs": {
        "image": "registry.invalid/prefect-imagine:0.1.0",
        "execution_role_arn": ROLE,
        "task_role_arn": ROLE,
    },
}
"""What has no default."""


def template(kind: str) -> dict[str, Any]:
    """The base job template for a type of pool."""
    found: dict[str, Any] = json.loads(TEMPLATES[kind].read_text(encoding="utf-8"))
    return found


def compose_services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, with what their anchors stand for."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


def setup_script() -> str:
    """What the compose file's service `setup` runs in a shell, as the shell gets it."""
    script: str = compose_services()["setup"]["command"][0]
    return script.replace("$$", "$")


def job_command(kind: str) -> str:
    """What a pool's job runs by default."""
    command: str = template(kind)["variables"]["properties"]["command"]["default"]
    return command
