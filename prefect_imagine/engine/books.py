"""What a run has cost: the bill so far, and what balances say to it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.batches.stops import Stop, StopReason, WaitsFor
from prefect_imagine.batches.submission import Submission
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.costs import committed
from prefect_imagine.billing.credit_limit import CreditLimit
from prefect_imagine.billing.usage import (
    BalanceChange,
    ItemCounts,
    Usage,
    UsageLine,
    add_counts,
    balance_change,
    costs_of,
)
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.budgets.run_budgets import RunBudgets
from prefect_imagine.engine.open_shards import OpenShard
from prefect_imagine.engine.traffic import Traffic
from prefect_imagine.errors import ProviderError
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize

logger = logging.getLogger(__name__)


MOST_FAILURES = 500
"""Failures of one run that are announced one by one; Prefect drops what comes too fast for it."""


@dataclass(frozen=True)
class ShardStanding:
    """The books of a shard as it is opened. Making them takes a while.

    Attributes:
        amounts: what each item has or may have cost, by provider.
        failed: the items that have failed.
    """

    bill: Bill
    amounts: Mapping[int, Mapping[str, Decimal]]
    failed: frozenset[int]

    @classmethod
    def of(cls, shard: Shard) -> ShardStanding:
        """The books of a shard as it stands."""
        standings = shard.standings()
        return cls(
            bill=Bill.of(shard.plan, shard.state),
            amounts={item.index: committed(item, known) for item, known in standings},
            failed=frozenset(item.index for item, known in standings if known.phase is Phase.FAILED),
        )


class RunBooks:
    """The bill of a batch, and what one run has added to it.

    Attributes:
        credit_limit: what the run may spend.
        budgets: what all batches under the root may spend.
        failures: the first items that have failed in this run, in order, with how they stood then.

    Args:
        bills: of all shards, by number, as they stand.
    """

    def __init__(
        self,
        batch_id: str,
        bills: Mapping[int, Bill],
        credit_limit: CreditLimit,
        budgets: RunBudgets,
        clients: Mapping[str, ProviderClient],
        balances: Mapping[str, Balance],
    ) -> None:
        self.credit_limit = credit_limit
        self.budgets = budgets
        self.failures: list[tuple[BatchItem, ItemState]] = []
        self._batch_id = batch_id
        self._bills: dict[int, Bill] = {}
        self._failed: set[int] = set()
        self._clients = clients
        self._balances = balances
        for shard, bill in bills.items():
            self.carry(shard, bill)
        self._before = {line.name: line for line in self.usage().by_provider}

    def open(self, shard: OpenShard, standing: ShardStanding) -> None:
        """Follow the items of a shard from now on. What failed before is not this run's failure."""
        self._bills[shard.number] = standing.bill
        self.credit_limit.follow(shard.number, standing.amounts)
        self.budgets.open(shard)
        self._failed.update(standing.failed)

    def close(self, shard: OpenShard) -> None:
        """Follow them no longer: they stay as they are."""
        self.update_all(shard)
        self._failed.difference_update(shard.plan.indices)
        self.credit_limit.forget(shard.plan.indices)
        self.carry(shard.number, self._bills[shard.number])

    def carry(self, shard: int, bill: Bill) -> None:
        """Take in the bill of a shard that is not open."""
        bill.forget_items()
        self._bills[shard] = bill
        self.credit_limit.carry(shard, bill.committed)

    def update(self, shard: int, item: BatchItem, state: ItemState) -> None:
        """Take in where an item of an open shard stands now."""
        if not self._bills[shard].update(item, state):
            return
        self.credit_limit.settle(item.index, committed(item, state))
        self.budgets.update(shard, item, state)
        if state.phase is not Phase.FAILED:
            self._failed.discard(item.index)
        elif item.index not in self._failed:
            self._failed.add(item.index)
            if len(self.failures) < MOST_FAILURES:
                self.failures.append((item, state))

    def update_all(self, shard: OpenShard) -> None:
        """Take in where all items of an open shard stand now."""
        for item, state in shard.view.standings():
            self.update(shard.number, item, state)

    def knows(self, shard: int) -> bool:
        """Whether the bill holds a shard."""
        return shard in self._bills

    def bill_of(self, shard: int) -> Bill:
        """The bill of a shard."""
        return self._bills[shard]

    @property
    def bill(self) -> Bill:
        """The bill of the batch so far."""
        return Bill.total(self._batch_id, self._bills.values())

    @property
    def counts(self) -> ItemCounts:
        """How many of the batch's items stand where."""
        return add_counts(bill.counts for bill in self._bills.values())

    def unfinished(self, shard: int, provider: str) -> tuple[int, int]:
        """How many of a provider's items in a shard are planned and not denied, and how many under way."""
        planned, under_way = self._bills[shard].unfinished(provider)
        return planned - self.budgets.denials.count(shard, provider), under_way

    def to_do(self, shard: int) -> int:
        """How many items of a shard are not done, without those that are denied."""
        return self._bills[shard].counts.unfinished - self.budgets.denials.count(shard)

    def denial(self, provider: str) -> Stop | None:
        """Why the run creates some of a provider's items no more, while it creates others."""
        error = self.budgets.denials.first.get(provider)
        return None if error is None else Stop(StopReason.BUDGET, str(error), WaitsFor.of(error))

    def usage(self, balances: tuple[BalanceChange, ...] = ()) -> Usage:
        """The bill so far."""
        return self.bill.usage(utc_now(), balances)

    def summary(
        self, usage: Usage, address: str, stops: Sequence[Stop], submission: Submission | None = None
    ) -> Summary:
        """The run, summed up.

        Args:
            submission: what it has left for whoever collects its jobs, if it has let them go.
        """
        sent = sum((client.requests for client in self._clients.values()), Counter[str]())
        spent = any(costs_of(line) != self._costs_before(line.name) for line in usage.by_provider)
        requests = RequestCounts(**sent)
        return summarize(usage, address, requests, stops, key_refused_first=not spent, submission=submission)

    def _costs_before(self, provider: str) -> tuple[Credits, ...]:
        return costs_of(self._before.get(provider, UsageLine(name=provider)))

    async def balance_changes(self, traffic: Traffic) -> tuple[BalanceChange, ...]:
        """Each balance that was read before the run, read again; `traffic` takes them in."""
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
            traffic.saw_balance(line.name, after)
            known = self._before.get(line.name)
            charged = add_credits([line.charged, -known.charged if known is not None else 0])
            left = add_credits([known.possible, known.estimated]) if known is not None else 0
            changes.append(
                balance_change(line.name, before.credits, after.credits, charged, line.possible, left)
            )
        return tuple(changes)
