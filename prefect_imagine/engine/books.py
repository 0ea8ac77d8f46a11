"""What a run has cost: the bill so far, and what balances say to it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.batches.stops import Stop
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.budget import Budget
from prefect_imagine.billing.costs import committed
from prefect_imagine.billing.usage import BalanceChange, Usage, balance_change, costs_of
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import ProviderError
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize

logger = logging.getLogger(__name__)


class RunBooks:
    """The bill of a batch, and what one run has added to it.

    Attributes:
        bill: of all items, as they stand.
        budget: what may be spent.
        failures: the items that have failed in this run, in order.
    """

    def __init__(
        self,
        plan: Plan,
        state: BatchState,
        budget: Budget,
        clients: Mapping[str, ProviderClient],
        balances: Mapping[str, Balance],
    ) -> None:
        self.bill = Bill(plan.batch_id)
        self.budget = budget
        self.failures: list[int] = []
        self._failed: set[int] = set()
        self._clients = clients
        self._balances = balances
        self.update_all(plan, state)  # what providers did that have nothing left to do was paid too
        self.failures.clear()
        self._before = {line.name: line for line in self.usage().by_provider}

    def update(self, item: BatchItem, state: ItemState) -> None:
        """Take in where an item stands now."""
        self.bill.update(item, state)
        self.budget.settle(item.request.provider, item.index, committed(item, state))
        if state.phase is not Phase.FAILED:
            self._failed.discard(item.index)
        elif item.index not in self._failed:
            self._failed.add(item.index)
            self.failures.append(item.index)

    def update_all(self, plan: Plan, state: BatchState) -> None:
        """Take in where all items stand now."""
        for item in plan.items:
            self.update(item, state[item.index])

    def usage(self, balances: tuple[BalanceChange, ...] = ()) -> Usage:
        """The bill so far."""
        return self.bill.usage(utc_now(), balances)

    def summary(self, usage: Usage, address: str, stops: Sequence[Stop]) -> Summary:
        """The run, summed up."""
        sent = sum((client.requests for client in self._clients.values()), Counter[str]())
        spent = any(costs_of(line) != costs_of(self._before[line.name]) for line in usage.by_provider)
        return summarize(usage, address, RequestCounts(**sent), stops, key_refused_first=not spent)

    async def balance_changes(self) -> tuple[BalanceChange, ...]:
        """Each balance that was read before the run, read again."""
        changes = []
        for line in self.usage().by_provider if self._balances else ():
            before = self._balances.get(line.name)
            if before is None:
                continue
            try:
                after = await self._clients[line.name].balance()
            except ProviderError as error:
                logger.warning("%s: the balance could not be read again: %s", line.name, error)
                continue
            charged = add_credits([line.charged, -self._before[line.name].charged])
            changes.append(balance_change(line.name, before.credits, after.credits, charged, line.possible))
        return tuple(changes)
