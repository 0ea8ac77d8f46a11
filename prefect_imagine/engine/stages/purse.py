"""What a create may cost: set aside in the budgets of the root, and reserved within `max_credits`."""

from __future__ import annotations

import asyncio

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.stops import StopReason, WaitsFor
from prefect_imagine.billing.costs import committed
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import BudgetExceededError, BudgetUsedUpError


class Purse:
    """What one run may spend with one provider. Where it holds no more, it ends the creates."""

    def __init__(self, run: ProviderRun) -> None:
        self._run = run

    async def set_aside(self, item: BatchItem) -> bool:
        """Set aside what an item is expected to cost; returns whether it may be sent. Raises `FencedError` or
        `StoreError`."""
        run = self._run
        planned, _ = run.books.unfinished(run.shards.of(item.index).number, run.provider)
        try:
            if not await run.books.budgets.take(item, planned):
                return False
            if run.stop is None and self._reserve(item):
                return True
            self.give_back(item)
        except BudgetUsedUpError as error:
            run.halt(StopReason.BUDGET, str(error), WaitsFor.of(error))
        except BudgetExceededError as error:
            run.halt(StopReason.BUDGET, str(error))
        return False

    def give_back(self, item: BatchItem) -> None:
        """Nothing is sent for which something was set aside, unless somebody else is about to."""
        run = self._run
        if item.index in run.admission.sending:
            return
        state = run.state(item.index)
        if state.alternative != item.chosen:
            return  # what was set aside by now is for another way to create it
        run.books.budgets.give_back(item, state)
        run.books.credit_limit.settle(item.index, committed(item, state))

    async def wait(self, item: BatchItem) -> None:
        """Wait until it is worth while to try again, where credits may come free."""
        budgets = self._run.books.budgets
        if self._run.stop is None and not budgets.denies(item):
            await asyncio.sleep(budgets.pause(item))

    def _reserve(self, item: BatchItem) -> bool:
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
