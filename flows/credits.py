"""What was spent, over all batches under a root, and what is left."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_imagine.billing.spending import described
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import ImagineError
from prefect_imagine.flows.parameters import Bucket, Credentials, Days
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.registry import check_providers
from prefect_imagine.tasks.bookkeeping import note_balances, read_balances, read_ledger
from prefect_imagine.tasks.credit_report import TREND_DAYS, publish_credits
from prefect_imagine.tasks.events import announce_low_credits
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.schedule import planned_time


@flow(name="credit-report", flow_run_name="credit report of {output}", persist_result=False, retries=0)
async def credit_report(
    output: str = "./outputs",
    credentials: Credentials = {},  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    bucket: Bucket = None,
    days: Days = 30.0,
    time_zone: str = "UTC",
    low_credits: dict[str, Credits] = {},  # noqa: B006
    prices: dict[str, PriceList] = {},  # noqa: B006
) -> State[Any]:
    """Report usage by provider, model, label and day, with its trend, and the balances of the
    accounts, held against the books since the last report.

    Args:
        output: Folder or s3://bucket/prefix that batches are stored under.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        days: How far back to look, 14 at least. Only batches that were written to in these days are read.
        time_zone: Whose days are meant, in {date}, rotation and reports, such as Europe/Berlin.
        low_credits: Credits by provider below which the event imagine.credits.low is sent, such as
            {"imaginelab": 200}.
        prices: What a credit costs of items that were planned when no price list said it, by provider, such
            as {"imaginelab": {"currency": "EUR", "per_credit": 0.01, "as_of": "2026-11-01"}}.
    """
    with logs_in_run():
        try:
            check_providers(low_credits, "low_credits")
            check_providers(prices, "prices")
            today = planned_time(time_zone)
            balances = await read_balances(credentials)
            report = await read_ledger(
                output,
                bucket,
                max(days, TREND_DAYS),
                today,
                balances=balances,
                told_at=utc_now(),
                prices=prices,
            )
        except ImagineError as error:
            return Failed(message=str(error), data=error)
        announce_low_credits(report.accounts.told, low_credits)
        await publish_credits(report, today.date())
        try:
            await note_balances(output, bucket, report)
        except ImagineError as error:
            return Failed(message=str(error), data=error)
    return Completed(message=f"{described(report.ledger)} since {report.ledger.first}")
