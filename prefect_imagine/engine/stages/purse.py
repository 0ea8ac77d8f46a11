"""What a create may cost: set aside in the budgets of the root, and reserved within `max_credits`."""

from __future__ import annotations

import asyncio

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import Phase
from prefect_imagine.batches.stops import StopReason, WaitsFor
from prefect_imagine.billing.costs import committed
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import BudgetExceededError, BudgetUsedUpError
from prefect_imagine.providers.credits import Credits


class Purse:
    """What one run may spend with one provider. Where it holds no more, and no create is without an answer
    that may turn out to cost nothing, with no provider of the batch, it ends the creates."""

    def __init__(self, run: ProviderRun) -> None:
        self._run = run
        self._covered: set[int] = set()
        self._lacking: Credits | None = None
        run.books.credit_limit.sources.append(self._may_come_free)

    @property
    def short(self) -> bool:
        """Whether `max_credits` has denied a create, and has had no room for two like it since."""
        return self._lacking is not None

    @property
    def waits(self) -> bool:
        """Whether `max_credits` has no room for now, and may yet have some in this run."""
        if self._lacking is None or self._fits(self._lacking):
            return False
        return self._run.books.credit_limit.may_come_free

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
            if not run.books.credit_limit.may_come_free:
                run.halt(StopReason.BUDGET, str(error))
            return False
        if self._lacking is not None and self._fits(self._lacking):
            self._lacking = None
        return True

    def _fits(self, estimate: Credits) -> bool:
        return self._run.books.credit_limit.fits(self._run.provider, estimate)

    def _may_come_free(self) -> bool:
        """Whether a create of this run has no answer yet, or has lost it and may turn out to cost nothing."""
        lost = self._run.queues.open and not (self._run.gone or self._unprovable)
        return bool(self._covered or lost)

    @property
    def _unprovable(self) -> bool:
        """Whether no lost create can be proven absent any more: the history has shown no job of ours, and the
        one item that is to be created again for it to show has to wait itself, for want of credits."""
        run, probe = self._run, self._run.admission.probe
        if probe is None or run.jobs.any_known or run.shards.item(probe).request.provider != run.provider:
            return False
        return run.state(probe).phase is Phase.PLANNED
