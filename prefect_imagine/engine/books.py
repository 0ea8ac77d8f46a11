"""What a run has cost: the bill so far, and what balances say to it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.stops import Stop
from prefect_imagine.billing.usage import BalanceChange, Usage, balance_change, costs_of, make_usage
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import ProviderError
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize

logger = logging.getLogger(__name__)


class RunBooks:
    """The bill of a batch, and what one run has added to it."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        clients: Mapping[str, ProviderClient],
        balances: Mapping[str, Balance],
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._clients = clients
        self._balances = balances
        self._before = {line.name: line for line in self.usage().by_provider}

    def usage(self, balances: tuple[BalanceChange, ...] = ()) -> Usage:
        """The bill so far."""
        return make_usage(self._plan, self._journal.state, utc_now(), balances)

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
