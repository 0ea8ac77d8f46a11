"""Batches on a worker that are cancelled, killed, or without a server, all while they create."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial

import httpx
import pytest

from prefect_imagine.batches.lease import who_runs
from tests.operations.site import SET_UP_APART, Site, until
from tests.operations.wire import Wire

pytestmark = [pytest.mark.long, SET_UP_APART]
GENERATE = "generate-batch/generate-batch"
COUNT = 14
BEGUN = 3
QUICK = {"deadline": 1, "create": 1, "settle": 1}
"""What is open after a kill is looked up; these are the waits before it counts as never created."""
AGAIN = "run batch 'cancelled' again"
ALL_STORED = f"{COUNT} of {COUNT} stored"


def _prompts(name: str) -> list[str]:
    return [f"{name} {number}" for number in range(COUNT)]


def _begin(site: Site, name: str, **environment: str) -> str:
    prompts = [{"prompt": prompt} for prompt in _prompts(name)]
    options = {"batch_id": name, "timing": QUICK}
    parameters = {"prompts": prompts, "provider": "imaginelab", "options": options}
    return site.run(GENERATE, environment=environment, **parameters)


def _created(site: Site, name: str) -> int:
    return len(site.jobs(_prompts(name), "imaginelab"))


def _is_creating(site: Site, name: str) -> bool:
    return BEGUN <= _created(site, name) < COUNT


def _cancel(site: Site, run: str) -> None:
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    site.request("POST", f"/flow_runs/{run}/set_state", cancelling)


def _kill(site: Site, run: str) -> None:
    assert site.terminal.signal(signal.SIGKILL, variable=f"PREFECT__FLOW_RUN_ID={run}")


def _terminate(site: Site, run: str) -> None:
    assert site.terminal.signal(signal.SIGTERM, variable=f"PREFECT__FLOW_RUN_ID={run}")


@pytest.fixture(scope="module")
def disturbed(site: Site) -> Mapping[str, str]:
    """Runs by their batches' names: of three at once that create, one is cancelled, and the processes of
    the others are killed and told to terminate."""
    disturb = {"cancelled": _cancel, "killed": _kill, "terminated": _terminate}
    runs = {name: _begin(site, name) for name in disturb}
    while disturb:
        name = until(lambda: next(filter(partial(_is_creating, site), disturb), None), "a run that creates")
        disturb.pop(name)(site, runs[name])
    return runs


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    """A wire to the server."""
    with closing(Wire(httpx.URL(site.api_url).port or 0)) as wire:
        yield wire


def test_a_cancelled_run_ends_and_its_batch_is_resumed(site: Site, disturbed: Mapping[str, str]) -> None:
    run = disturbed["cancelled"]
    ended = site.in_state(run)
    assert ended["state_name"] == "Cancelled", (ended["state"]["message"], site.log(run))
    until(lambda: AGAIN in site.log(run), "what the cancelled run has logged")
    assert _created(site, "cancelled") < COUNT
    usage = site.read_json("cancelled/usage.json")
    assert usage["stored"] + usage["under_way"] == _created(site, "cancelled")
    until(lambda: who_runs(site.store, "cancelled") is None, "its process to give the batch back")
    resumed = site.run(GENERATE, options={"batch_id": "cancelled", "timing": QUICK})
    assert site.in_state(resumed)["state"]["message"] == ALL_STORED
    site.assert_books_are_exact("cancelled", _prompts("cancelled"), "imaginelab")


@pytest.mark.parametrize("name", ["killed", "terminated"])
def test_a_lost_run_is_resumed_by_the_automation(site: Site, disturbed: Mapping[str, str], name: str) -> None:
    ended = site.in_state(disturbed[name], "Completed", "Failed")
    assert (ended["state"]["message"], ended["run_count"]) == (ALL_STORED, 2)
    site.assert_books_are_exact(name, _prompts(name), "imaginelab")
    resumes = [each["parameters"] for each in site.runs("resume-crashed/resume-crashed")]
    assert {"flow_run_id": disturbed[name]} in resumes


def test_a_batch_goes_on_without_the_server(site: Site, wire: Wire) -> None:
    """All that its process hears of the server goes over one wire, which falls silent until everything has
    been created."""
    run = _begin(site, "alone", PREFECT_API_URL=f"http://127.0.0.1:{wire.port}/api")
    until(partial(_is_creating, site, "alone"), "a run that creates")
    with wire.silent():
        until(lambda: _created(site, "alone") == COUNT, "everything to be created")
    ended = site.in_state(run)
    assert (ended["state"]["message"], ended["run_count"]) == (ALL_STORED, 1)
    site.assert_books_are_exact("alone", _prompts("alone"), "imaginelab")
