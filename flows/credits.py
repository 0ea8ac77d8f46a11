"""What was spent, over all batches under a root, and what is left."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_imagine.errors import ImagineError
from prefect_imagine.flows.parameters import Bucket, CredentialsBlocks, Days, LowCredits, Output, TimeZone
from prefect_imagine.tasks.accounts import open_output
from prefect_imagine.tasks.bookkeeping import read_balances, read_ledger
from prefect_imagine.tasks.credit_report import publish_credits
from prefect_imagine.tasks.events import announce_low_credits
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.schedule import planned_time


@flow(name="credit-report", flow_run_name="credit report of {output}", persist_result=False, retries=0)
async def credit_report(
    output: Output = "./outputs",
    credentials: CredentialsBlocks = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: Bucket = None,
    days: Days = 30.0,
    time_zone: TimeZone = "UTC",
    low_credits: LowCredits = {},  # noqa: B006
) -> State[Any]:
    """Report usage by provider, model, label and day, with its trend, and the balances of the accounts."""
    with logs_in_run():
        try:
            today = planned_time(time_zone)
            with closing(await open_output(output, bucket)) as store:
                ledger = await read_ledger(store, days, today)
            balances = await read_balances(credentials)
        except ImagineError as error:
            return Failed(message=str(error))
    known = {each.provider: each.balance for each in balances if each.balance is not None}
    announce_low_credits(known, low_credits)
    await publish_credits(ledger, balances, today.date())
    return Completed(message=f"{ledger.batches} batches in {days:g} days")
