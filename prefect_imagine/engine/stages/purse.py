"""What a create may cost: set aside in the budgets of the root, and reserved within `max_credits`."""

from __future__ import annotations

import asyncio

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.stops import StopReason, WaitsFor
from prefect_imagine.billing.costs import committed
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import BudgetExceededError, BudgetUsedUpError
from prefect_imagine.providers.credits import Credits


class Purse:
    """What one run may spend with one provider. Where it holds no more, and no create is without an answer
    that may turn out to cost nothing, it ends the creates."""

    def __init__(self, run: ProviderRun) -> None:
        self._run = run
        self._covered: set[int] = set()
        self._lacking: Credits | None = None

    @property
    def short(self) -> bool:
        """Whether `max_credits` has denied a create, and has had no room for two like it since."""
        return self._lacking is not None

    @property
    def waits(self) -> bool:
        """Whether `max_credits` has no room for now, and may yet have some in this run."""
        return self._lacking is not None and self._may_come_free and not self._fits(self._lacking)

    async def set_aside(self, item: BatchItem) -> bool:
        """Set aside what an item is expected to cost; returns whether it may be sent. Raises `FencedError` or
        `StoreError`."""
        run = self._run
        planned, _ = run.books.unfinished(run.shards.of(item.index).number, run.provider)
        try:
            if not await run.books.budgets.take(item, planned):
                return False
            if run.stop is None and self._reserve(item):
                self._covered.add(item.index)
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
        self._covered.discard(item.index)
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
            self._lacking = estimate
            if not self._may_come_free:
                run.halt(StopReason.BUDGET, str(error))
            return False
        if self._lacking is not None and self._fits(self._lacking):
            self._lacking = None
        return True

    def _fits(self, estimate: Credits) -> bool:
        return self._run.books.credit_limit.fits(self._run.provider, estimate)

    @property
    def _may_come_free(self) -> bool:
        """Whether a create of this run has no answer yet, or has lost it."""
        return bool(self._covered or self._run.queues.open)
