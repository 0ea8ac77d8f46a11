"""What lies in ops/: schemas, names of metrics, and alerts that come when they should, and then only."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from prefect_imagine.metrics import CATALOGUE
from tests.metrics.expressions import (
    SAMPLES,
    dashboard,
    names,
    of_dashboard,
    of_rules,
    panels,
    recorded,
    rules,
)
from tests.metrics.prometheus import CONFIG, ROOT, RULES, WITH_PROMETHEUS, promtool

HERE = Path(__file__).parent
ALERTS = (HERE / "alerts.yml", HERE / "alerts_of_days.yml")


@pytest.mark.parametrize(("where", "expression"), [*of_dashboard(), *of_rules()])
def test_expressions_name_metrics_that_there_are(where: str, expression: str) -> None:
    assert names(expression) <= SAMPLES | recorded()
    assert names(expression) or "up{" in expression


def test_a_metric_that_is_gone_is_noticed() -> None:
    assert names('sum(imagine_gone_total{reason="imagine_x"}) / imagine:gone:1h') == {
        "imagine_gone_total",
        "imagine:gone:1h",
    }
    assert not names("imagine_gone_total") <= SAMPLES | recorded()


def test_the_dashboard_or_a_rule_shows_every_metric() -> None:
    shown = {name for _, expression in (*of_dashboard(), *of_rules()) for name in names(expression)}
    assert [spec.name for spec in CATALOGUE if not shown & {*spec.samples}] == []


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    board = dashboard()
    assert (board["uid"], board["schemaVersion"], board["timezone"]) == ("prefect-imagine", 39, "browser")
    every = board["panels"]
    assert [panel["id"] for panel in every] == list(range(1, len(every) + 1))
    assert max(Counter(panel["title"] for panel in every).values()) == 1
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert sources == [{"type": "prometheus", "uid": "${datasource}"}] * len(sources)
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    variables = {each["name"]: each["type"] for each in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "provider": "query"}
    text = (ROOT / "ops/grafana/dashboard.json").read_text()
    assert not re.search(r"https?://|gnetId|__inputs", text), "nothing is loaded from elsewhere"


def test_everything_is_put_where_it_is_looked_for() -> None:
    compose = yaml.safe_load((ROOT / "ops/compose.yaml").read_text())["services"]
    mounted = {
        source: target
        for service in compose.values()
        for source, _, target in (each.removesuffix(":ro").partition(":") for each in service["volumes"])
        if source.startswith("./")
    }
    assert all((ROOT / "ops" / source).exists() for source in mounted)
    boards = yaml.safe_load((ROOT / "ops/grafana/provisioning/dashboards/imagine.yml").read_text())
    [provider] = boards["providers"]
    assert str(Path(mounted["./grafana/dashboard.json"]).parent) == provider["options"]["path"]
    sources = yaml.safe_load((ROOT / "ops/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert [each["url"] for each in sources["datasources"]] == ["http://prometheus:9090"]
    [job] = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["exporter:9787"]}]
    assert all(re.search(r":v?\d+\.\d+\.\d+$", compose[name]["image"]) for name in ("prometheus", "grafana"))


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"].keys() == {"summary", "description", "action"}, rule["alert"]
            assert rule["for"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info")


@WITH_PROMETHEUS
def test_promtool_is_content() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("check", "config", CONFIG)


def test_each_alert_is_tried_where_it_comes_and_where_it_does_not() -> None:
    cases = [test for file in ALERTS for test in yaml.safe_load(file.read_text())["tests"]]
    tries = [each for test in cases for each in test["alert_rule_test"]]
    tried = {(each["alertname"], bool(each.get("exp_alerts"))) for each in tries}
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert tried == {(alert, comes) for alert in alerts for comes in (True, False)}


@WITH_PROMETHEUS
@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_alerts_come_when_they_should_and_then_only(file: Path) -> None:
    promtool("test", "rules", file)


@WITH_PROMETHEUS
def test_a_rule_that_promtool_cannot_read_is_noticed(tmp_path: Path) -> None:
    bad = tmp_path / "rules.yml"
    bad.write_text(RULES.read_text().replace("max(imagine_last_success", "max((imagine_last_success"))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("check", "rules", bad)
