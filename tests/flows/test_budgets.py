"""Budgets in flows: who is told when one runs out, and who goes on when there is enough again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.billing.budgets.budget import Budget, set_budget
from prefect_imagine.clock import utc_now
from prefect_imagine.flows import credit_report, reconcile_batches
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from tests.flows.prefect_api import artifacts_of, events_about, flow_run_of

pytestmark = pytest.mark.usefixtures("prefect_server")


def _limited(folder: Path, name: str, credits: int) -> None:
    budget = Budget(name=name, limits={"imaginelab": credits}, period="total", set_at=utc_now())
    set_budget(open_store(str(folder)), budget)


async def _generate(folder: Path, batch: str, count: int) -> Any:
    prompts = [Prompt(prompt=f"{batch} {number}", provider="imaginelab") for number in range(count)]
    return await generate_batch(prompts, str(folder), options=BatchOptions(batch_id=batch), return_state=True)


async def test_thresholds_are_told_once_each_over_all_batches(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    _limited(tmp_path, "thresholds", 20)
    for batch in ("first", "second"):
        await _generate(tmp_path, f"told-{batch}", 3)
    told = await events_about(prefect_server, "imagine.budget.thresholds", 4)
    assert [each["payload"]["percent"] for each in told] == [50, 80, 95, 100]
    assert {each["event"] for each in told} == {"imagine.budget.threshold"}
    assert told[-1]["payload"] == {
        "provider": "imaginelab",
        "period": "total",
        "percent": 100,
        "spent": 20,
        "limit": 20,
        "until": None,
        "output": str(tmp_path),
    }
    assert datetime.fromisoformat(told[0]["occurred"]) <= datetime.fromisoformat(told[-1]["occurred"])
    assert keys.report(jobs=False)["charged"]["imaginelab"] == 20


async def test_reconciling_goes_on_with_what_a_budget_had_stopped(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    _limited(tmp_path, "team", 12)
    stopped = await _generate(tmp_path, "stopped", 4)
    assert stopped.is_failed()
    assert "budget 'team' (total)" in stopped.message
    waits = await reconcile_batches(str(tmp_path), return_state=True)
    assert (waits.is_completed(), waits.message) == (True, "0 unsettled batches")
    _limited(tmp_path, "team", 17)
    again = await reconcile_batches(str(tmp_path), return_state=True)
    assert again.is_completed(), "a budget that is used up again is no failure of the flow"
    _limited(tmp_path, "team", 20)
    ended = await reconcile_batches(str(tmp_path), return_state=True)
    assert ended.message == "0 unsettled batches, and 1 that a budget had stopped"
    [row] = (await artifacts_of(prefect_server, (await flow_run_of(ended)).id))["imagine-reconciled"]
    assert row == {"batch": "stopped", "outcome": "went on: 4 of 4 stored"}
    assert keys.report(jobs=False)["charged"]["imaginelab"] == 20
    report = await credit_report(str(tmp_path), return_state=True)
    page = (await artifacts_of(prefect_server, (await flow_run_of(report)).id))["imagine-credit-report"]
    assert "## Budgets" in page
    assert "| team | imaginelab | total | 20 | 20 | 0 | 0 | 0 | 0 |" in page
    assert (await reconcile_batches(str(tmp_path), return_state=True)).message == "0 unsettled batches"
