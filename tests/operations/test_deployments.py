"""The deployments of prefect.yaml, run by a worker: on a schedule, and as somebody asks for."""

from __future__ import annotations

import csv
import itertools
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.flows.prefect_api import artifacts_of, events_about
from tests.operations.site import ROOT, SET_UP_APART, Site, until

pytestmark = [pytest.mark.long, SET_UP_APART]
NIGHTLY = "generate-batch/generate-nightly"
SOON = timedelta(seconds=8)


def _due_soon(site: Site) -> None:
    """Give the nightly deployment one more schedule, which is due in a moment and then tomorrow: again, and
    later, where a busy server has looked at it too late."""
    for times in itertools.count(1):
        due = datetime.now(UTC) + times * SOON
        schedule = {"interval": 24 * 3600, "anchor_date": due.isoformat(), "timezone": "UTC"}
        deployment = f"/deployments/{site.deployment(NIGHTLY)}"
        site.request("POST", f"{deployment}/schedules", [{"schedule": schedule}])
        # The server looks at changed deployments every five seconds, at all others once a minute.
        site.request("PATCH", deployment, {"description": f"Every night, and at {due:%H:%M:%S}."})
        if until(partial(_is_scheduled, site, due), "the server's look at a schedule") == "in time":
            return


def _is_scheduled(site: Site, due: datetime) -> str:
    """Whether the server has made runs of a schedule, and the first one of them in time."""
    planned = site.runs(NIGHTLY, before=due + timedelta(days=1, minutes=1))
    times = [datetime.fromisoformat(run["expected_start_time"]) for run in planned if run["auto_scheduled"]]
    if any(abs(at - due) < timedelta(seconds=1) for at in times):
        return "in time"
    return "late" if any(abs(at - due - timedelta(days=1)) < timedelta(seconds=1) for at in times) else ""


def _scheduled(site: Site) -> dict[str, Any]:
    """The run that the server has scheduled by itself, once it has ended."""

    def due() -> dict[str, Any] | None:
        return next((run for run in site.runs(NIGHTLY) if run["auto_scheduled"]), None)

    found = until(due, "a scheduled run")
    return site.in_state(found["id"])


def _tonights_prompts(day: date) -> list[str]:
    """Four rows of the twelve, other ones each day."""
    with (ROOT / "examples/nightly.csv").open(newline="") as file:
        rows = [row["prompt"] for row in csv.DictReader(file)]
    turn = (day - date(1970, 1, 1)).days
    return [rows[(4 * turn + step) % len(rows)].format(weekday=f"{day:%A}") for step in range(4)]


async def test_a_scheduled_and_a_parameterised_run(site: Site) -> None:
    _due_soon(site)
    prompts = [
        {"prompt": "a heron on {date}", "labels": {"team": "birds"}},
        {"prompt": "forbidden-content"},
    ]
    asked = site.run(
        "generate-batch/generate-batch",
        prompts=prompts,
        provider="aivisualstudio",
        time_zone="Pacific/Auckland",
        options={"batch_id": "asked-{date}", "allowed_failures": 1},
    )
    await _assert_parameterised(site, site.in_state(asked))
    await _assert_scheduled(site, _scheduled(site))
    _assert_does_not_wait_under_a_limit(site)


def _assert_does_not_wait_under_a_limit(site: Site) -> None:
    """Prefect would end the run some minutes later, whatever a person answers."""
    ended = site.in_state(site.run(NIGHTLY, approve_above=0, options={"batch_id": "not-asked"}))
    assert ended["state_name"] == "Failed"
    assert "cannot wait for approval" in ended["state"]["message"]


async def _assert_parameterised(site: Site, run: dict[str, Any]) -> None:
    assert (run["state_name"], run["state"]["message"]) == ("Completed", "1 of 2 stored, 1 failed")
    day = _day_of(run, "Pacific/Auckland")
    batch_id = f"asked-{day}"
    assert run["name"] == f"generate {batch_id}"
    assert [job["credits"] for job in site.jobs([f"a heron on {day}"], "aivisualstudio")] == [5]
    found = await artifacts_of(site.api_url, run["id"])
    assert found["imagine-progress"] == 100
    assert [(row["charged"], row["stored"]) for row in found["imagine-usage"]] == [(5, 1)]
    assert [(row["reason"], row["items"]) for row in found["imagine-failures"]] == [("moderation", 1)]
    assert f"/imagine/{batch_id}/report.html" in found["imagine-report"]
    told = await events_about(site.api_url, f"imagine.batch.{batch_id}", 3)
    assert {each["event"] for each in told} == {
        "imagine.batch.started",
        "imagine.generation.failed",
        "imagine.batch.finished",
    }
    usage = site.read_json(f"{batch_id}/usage.json")
    assert [(line["name"], line["charged"]) for line in usage["by_label"]] == [("team=birds", 5)]


async def _assert_scheduled(site: Site, run: dict[str, Any]) -> None:
    assert (run["state_name"], run["state"]["message"]) == ("Completed", "4 of 4 stored")
    day = _day_of(run, "Europe/Berlin")
    batch_id = f"nightly-{day}"
    assert run["name"] == f"generate {batch_id}"
    tonight = _tonights_prompts(day)
    plan = (site.store.read(f"{batch_id}/plan.jsonl") or b"").splitlines()
    assert [json.loads(line)["request"]["prompt"] for line in plan] == tonight
    told = await events_about(site.api_url, f"imagine.batch.{batch_id}", 2)
    assert [each["event"] for each in told] == ["imagine.batch.started", "imagine.batch.finished"]
    assert told[0]["payload"]["remaining"] == 4
    assert told[1]["payload"]["credits"]["charged"] == 20
    found = await artifacts_of(site.api_url, run["id"])
    assert found["imagine-progress"] == 100
    assert found["imagine-failures"] == []
    assert [row["charged"] for row in found["imagine-usage"]] == [20]


def _day_of(run: dict[str, Any], zone: str) -> date:
    """The day that a run was meant for."""
    planned = datetime.fromisoformat(run["expected_start_time"])
    return planned.astimezone(ZoneInfo(zone)).date()
