"""docs/operations.md, followed from its first command to its last: what a reader has then."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from prefect_imagine.tasks import artifacts, credit_report, events
from prefect_imagine.tasks.automations import BUDGET_REACHED, BUDGET_THRESHOLD_REACHED, NAMES
from tests.operations.site import PAGE, SET_UP_APART, Site

pytestmark = [pytest.mark.long, SET_UP_APART]
FIRST = ["a red fox in the snow"] * 2 + ["a kite over dunes"]


def _printed(site: Site, start: str) -> str:
    """What the block that prints such a text has printed."""
    return next(each for each in site.printed if start in each)


def test_the_dry_run_tells_what_the_page_says(site: Site) -> None:
    run = site.runs("generate-batch/generate-nightly")[0]
    told = run["state"]["message"]
    assert (run["state_name"], told) == (
        "Completed",
        "4 items: aivisualstudio 20 credits; nothing was created",
    )
    assert told in PAGE.read_text()
    assert "prunaai/z-image-turbo" in _printed(site, "'key': 'imagine-estimate'")


def test_the_first_batch_is_paid_once_however_often_it_runs(site: Site) -> None:
    first, _, again = site.runs("generate-batch/generate-batch")[:3]
    assert first["state"]["message"] == "3 of 3 stored"
    again = site.in_state(again["id"])
    assert again["state"]["message"] == "3 of 3 stored"
    site.assert_books_are_exact("first", FIRST, "aivisualstudio")
    assert "3 of 3 stored" in _printed(site, "Batch first")


def test_the_run_that_waits_for_approval_goes_on_with_a_yes(site: Site) -> None:
    asking = site.runs("generate-batch/generate-batch")[1]
    paused = site.in_state(asking["id"], "Paused")
    site.request("POST", f"/flow_runs/{paused['id']}/resume", {"run_input": {"approve": True}})
    ended = site.in_state(paused["id"])
    assert ended["state"]["message"] == "12 of 12 stored"


@pytest.mark.parametrize(
    "deployment",
    [
        "credit-report/credit-report",
        "reconcile/reconcile",
        "load-history/load-history",
        "cancel-batch/cancel-batch",
    ],
)
def test_upkeep_works(site: Site, deployment: str) -> None:
    ended = site.in_state(site.runs(deployment)[0]["id"])
    assert ended["state_name"] == "Completed", ended["state"]


def test_the_automations_are_there(site: Site) -> None:
    made = {each["name"] for each in site.request("POST", "/automations/filter", {})}
    assert made == set(NAMES) - {BUDGET_REACHED, BUDGET_THRESHOLD_REACHED}


def test_the_ui_asks_this_server(site: Site) -> None:
    settings = httpx.get(f"{site.api_url.removesuffix('/api')}/ui-settings", timeout=60).json()
    assert settings["api_url"] == site.api_url


def _constants(module: Any, ending: str) -> set[str]:
    return {value for name, value in vars(module).items() if name.endswith(ending)}


def test_the_page_names_every_artifact_and_every_event() -> None:
    text = PAGE.read_text()
    keys = _constants(artifacts, "_KEY") | _constants(credit_report, "_KEY")
    assert set(re.findall(r"`(imagine-[a-z-]+)`[,| ]", text)) == keys
    told = {value for value in vars(events).values() if str(value).startswith("imagine.")}
    assert set(re.findall(r"^\| `(imagine\.[a-z.]+)`", text, re.MULTILINE)) == told
