"""What a create may cost: set aside in the budgets of the root, and reserved within `max_credits`."""

from __future__ import annotations

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.stops import StopReason, WaitsFor
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import BudgetExceededError, BudgetUsedUpError


class Purse:
    """What one run may spend with one provider. Where it holds no more, it ends the creates."""

    def __init__(self, run: ProviderRun) -> None:
        self._run = run

    async def set_aside(self, item: BatchItem) -> bool:
        """Set aside in the budgets of the root what an item is expected to cost; returns whether it may be
        sent. Raises `FencedError` or `StoreError`."""
        run = self._run
        planned, _ = run.books.unfinished(run.shards.of(item.index).number, run.provider)
        try:
            return await run.books.budgets.take(item, planned, lambda: run.stop is not None)
        except BudgetUsedUpError as error:
            waits_for = WaitsFor(
                budget=error.budget, provider=error.provider, credits=error.credits, until=error.until
            )
            run.halt(StopReason.BUDGET, str(error), waits_for)
        except BudgetExceededError as error:
            run.halt(StopReason.BUDGET, str(error))
        return False

    def give_back(self, item: BatchItem) -> None:
        """Nothing is sent for which something was set aside, unless somebody else is about to."""
        if item.index not in self._run.admission.sending:
            self._run.books.budgets.give_back(item, self._run.state(item.index))

    def reserve(self, item: BatchItem) -> bool:
        """Reserve within `max_credits` what an item is expected to cost; returns whether it may be sent."""
        run = self._run
        estimate = item.estimate.credits
        if estimate is None:  # then nothing limits this provider's spending: the plan was checked for it
            return True
        try:
            run.books.credit_limit.reserve(run.provider, item.index, estimate)
        except BudgetExceededError as error:
            run.halt(StopReason.BUDGET, str(error))
            return False
        return True
