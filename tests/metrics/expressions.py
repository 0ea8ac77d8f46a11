"""The expressions of the dashboard and of the rules, and the metrics that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from prefect_imagine.metrics import CATALOGUE
from tests.metrics.prometheus import ROOT, RULES

DASHBOARD = ROOT / "ops/grafana/dashboard.json"
_NAME = re.compile(r"(?<![\w:\"])imagine[\w:]*")
_TEXT = re.compile(r"\"[^\"]*\"")
SAMPLES = {name for spec in CATALOGUE for name in spec.samples}


def dashboard() -> Any:
    """The dashboard."""
    return json.loads(DASHBOARD.read_text())


def panels() -> list[Any]:
    """Its panels, without the rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """All rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    """The names of the series that rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}


def of_dashboard() -> Iterator[tuple[str, str]]:
    """Each panel's title, and an expression as Grafana would send it."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$provider", ".*").replace("$__rate_interval", "1m")
            assert "$" not in expression, panel["title"]
            yield panel["title"], expression


def of_rules() -> Iterator[tuple[str, str]]:
    """Each rule's name and expression."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]


def names(expression: str) -> set[str]:
    """The metrics of ours that an expression names."""
    return set(_NAME.findall(_TEXT.sub("", expression)))
