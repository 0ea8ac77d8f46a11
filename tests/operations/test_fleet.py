"""A batch over a pool's workers, as docs/fleet.md has it; and what becomes of shards whose runs are lost."""

from __future__ import annotations

import csv
import signal
from typing import Any

import pytest

from tests.documents.blocks import ROOT
from tests.operations.page import runnable_blocks
from tests.operations.site import BUCKET, SET_UP_APART, Site, until

pytestmark = [pytest.mark.long, SET_UP_APART]

PAGE = ROOT / "docs/fleet.md"
COUNT = 100
GENERATE, SHARD = "generate-batch/generate-batch", "generate-shard/generate-shard"
QUICK = {"deadline": 1, "create": 1, "settle": 1}


def _closed(site: Site, batch_id: str) -> dict[str, Any]:
    """The bill, once whoever ran the last shard has closed the books."""

    def there() -> dict[str, Any] | None:
        bill = site.store.head(f"{batch_id}/usage.json")
        closed = bill is not None and site.store.head(f"{batch_id}/submission.json") is None
        return site.read_json(f"{batch_id}/usage.json") if closed else None

    return until(there, f"the books of {batch_id} to be closed")


def _shards(site: Site, batch_id: str) -> dict[int, dict[str, Any]]:
    """The runs of a batch's shards."""
    runs = (run for run in site.runs(SHARD) if run["parameters"]["batch_id"] == batch_id)
    return {run["parameters"]["shard"]: run for run in runs}


def test_the_page_can_be_followed(site: Site) -> None:
    printed = [
        site.terminal.run(block) for block in runnable_blocks(PAGE.read_text(), {"YOUR-BUCKET": BUCKET})
    ]
    assert "batch many goes on on pool imagine: 1 shard, 12 items to create" in printed[0]
    _closed(site, "many")
    with (ROOT / "examples/nightly.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    usage = site.read_json("many/usage.json")
    assert usage["stored"] == sum(int(row.get("count") or 1) for row in rows) == 12
    [run] = _shards(site, "many").values()
    assert site.in_state(run["id"])["state"]["message"] == "12 of 12 stored"


def test_lost_runs_of_shards_are_begun_again_and_pay_for_nothing_twice(site: Site) -> None:
    """One is killed, one is told to terminate: the automations of the page resume both."""
    prompts = [f"fleet {number}" for number in range(COUNT)]
    run = site.run(
        GENERATE,
        prompts=[{"prompt": prompt} for prompt in prompts],
        provider="imaginelab",
        fleet={"pool": "imagine", "workers": 2},
        options={"batch_id": "fleet", "timing": QUICK},
    )
    site.in_state(run, "Submitted")

    def creating() -> bool:
        started = {job["prompt"] for job in site.jobs(prompts, "imaginelab")}
        halves = [prompts[: COUNT // 2], prompts[COUNT // 2 :]]
        return all(started.intersection(half) for half in halves)

    until(creating, "both shards to create")
    shards = _shards(site, "fleet")
    for shard, number in ((1, signal.SIGKILL), (2, signal.SIGTERM)):
        assert site.terminal.signal(number, variable=f"PREFECT__FLOW_RUN_ID={shards[shard]['id']}")
    _closed(site, "fleet")
    site.assert_books_are_exact("fleet", prompts, "imaginelab")
    for each in shards.values():
        assert site.in_state(each["id"])["state_name"] == "Completed"
        states = site.request("GET", f"/flow_run_states/?flow_run_id={each['id']}")
        assert "Crashed" in {state["name"] for state in states}


def test_a_process_that_was_frozen_leaves_the_run_to_its_successor(site: Site) -> None:
    """It counted as lost: the run was begun again, and is the other process's when this one wakes up."""
    prompts = [f"frozen {number}" for number in range(COUNT // 2)]
    handing_over = site.run(
        GENERATE,
        prompts=[{"prompt": prompt} for prompt in prompts],
        provider="imaginelab",
        fleet={"pool": "imagine", "workers": 1},
        options={"batch_id": "frozen", "timing": QUICK},
    )
    site.in_state(handing_over, "Submitted")
    until(lambda: len(site.jobs(prompts, "imaginelab")) >= 3, "the shard to create")
    [run] = [each["id"] for each in _shards(site, "frozen").values()]
    variable = f"PREFECT__FLOW_RUN_ID={run}"
    assert site.terminal.signal(signal.SIGSTOP, variable=variable)
    frozen = set(site.terminal.processes(variable=variable))
    # The automation of crashed runs schedules it again.
    site.request("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})
    created = len(site.jobs(prompts, "imaginelab"))
    until(lambda: len(site.jobs(prompts, "imaginelab")) > created, "the other process to create")
    assert site.terminal.signal(signal.SIGCONT, variable=variable)
    until(lambda: not frozen & set(site.terminal.processes(variable=variable)), "the first one to end")
    _closed(site, "frozen")
    site.assert_books_are_exact("frozen", prompts, "imaginelab")
    assert site.in_state(run)["state_name"] == "Completed"
