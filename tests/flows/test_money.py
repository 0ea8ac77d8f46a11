"""Amounts of money in the Prefect UI: an estimate, an approval, a bill and the credit report."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from prefect_imagine import BatchOptions, PriceList, Prompt, generate_batch
from prefect_imagine.flows import credit_report
from prefect_imagine.sandbox import RunningSandbox
from tests.flows.prefect_api import artifacts_of, flow_run_of

pytestmark = pytest.mark.long

EURO = PriceList(currency="EUR", per_credit=Decimal("0.01"), as_of=date(2026, 11, 1))
SAID = "0.15 EUR (price list, as of 2026-11-01)"
FOXES = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(3)]


def _options(**known: object) -> BatchOptions:
    return BatchOptions.model_validate({"batch_id": f"money-{uuid4().hex[:8]}", **known})


async def test_whoever_is_asked_sees_what_it_costs_in_money(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    options = _options(prices={"imaginelab": EURO})
    state = await generate_batch(
        FOXES, str(tmp_path), options=options, approve_above=1, approval_minutes=0.01, return_state=True
    )
    assert state.is_cancelled()
    assert f"3 items: imaginelab 15 credits, {SAID}" in (state.message or "")
    tried = await generate_batch(FOXES, str(tmp_path), options=options, validate_only=True, return_state=True)
    found = await artifacts_of(prefect_server, (await flow_run_of(tried)).id)
    [row] = found["imagine-estimate"]
    assert (row["credits"], row["money"]) == (15, SAID)


async def test_the_bill_and_the_credit_report_show_amounts_beside_credits(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    priced, plain = _options(prices={"imaginelab": EURO}), _options()
    state = await generate_batch(FOXES, str(tmp_path), options=priced, return_state=True)
    found = await artifacts_of(prefect_server, (await flow_run_of(state)).id)
    assert [row["money"] for row in found["imagine-usage"]] == ["0.15 EUR (price list)"]
    await generate_batch(FOXES, str(tmp_path), options=plain, return_state=True)
    report = await credit_report(str(tmp_path), return_state=True)
    found = await artifacts_of(prefect_server, (await flow_run_of(report)).id)
    page = found["imagine-credit-report"]
    assert "| imaginelab | 0.15 EUR (price list) |" in page
    assert "- imaginelab: 15 charged credits have no price in money" in page
    assert [row["money"] for row in found["imagine-credits-by-model"]] == ["0.15 EUR (price list)"]
    dollars = {"imaginelab": PriceList(currency="USD", per_credit=Decimal(2))}
    report = await credit_report(str(tmp_path), prices=dollars, return_state=True)
    found = await artifacts_of(prefect_server, (await flow_run_of(report)).id)
    assert "30.00 USD (given afterwards)" in found["imagine-credit-report"]
    silent = await credit_report(
        str(tmp_path), prices={"imaginelab": PriceList(default=5)}, return_state=True
    )
    assert silent.is_failed()
    assert "do not say what a credit costs" in (silent.message or "")
