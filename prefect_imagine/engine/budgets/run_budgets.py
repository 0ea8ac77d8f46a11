"""The budgets of a root, as one run keeps them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import ItemState
from prefect_imagine.billing.budgets.amounts import Amount, Kind, amounts_of
from prefect_imagine.billing.budgets.budget import Budget, read_budgets
from prefect_imagine.billing.budgets.holdings import holder_name
from prefect_imagine.billing.budgets.left_behind import recent_periods
from prefect_imagine.billing.budgets.periods import Period
from prefect_imagine.billing.budgets.thresholds import Announce
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.engine.budgets.account import Account, Holder
from prefect_imagine.engine.budgets.denials import Denials
from prefect_imagine.engine.budgets.drawing import TIMES, Drawer, DrawTimes
from prefect_imagine.engine.open_shards import OpenShard, OpenShards
from prefect_imagine.errors import BudgetExceededError, BudgetUsedUpError, ImagineError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""From one look at which budgets there are to the next."""
NOTE_SECONDS = 30.0
"""From one note of what was spent, where nothing is drawn, to the next."""


class _Share(NamedTuple):
    """What one item has used of one budget in one period."""

    drawer: Drawer
    provider: str
    kind: Kind
    amount: Decimal


class RunBudgets:
    """Keeps what a run spends within the budgets of its root. Where a root has none it reads one object now
    and then, and does nothing else.

    Attributes:
        denials: items that are created no more, while others are.

    Args:
        now: the clock by which a create belongs to a period.
    """

    def __init__(
        self,
        store: Store,
        blocking: Blocking,
        shards: OpenShards,
        *,
        times: DrawTimes = TIMES,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.denials = Denials()
        self._announce: Announce | None = None
        self._store = store
        self._blocking = blocking
        self._shards = shards
        self._times = times
        self._now = now
        self._budgets: tuple[Budget, ...] = ()
        self._drawers: dict[tuple[str, str], Drawer] = {}
        self._holders: dict[int, Holder] = {}
        self._shares: dict[int, tuple[_Share, ...]] = {}
        self._pending: dict[int, tuple[Drawer, ...]] = {}
        self._ended: set[str] = set()

    def announce_by(self, announce: Announce) -> None:
        """Announce thresholds that are reached from now on."""
        self._announce = announce
        for drawer in self._drawers.values():
            drawer.announce = announce

    async def look(self) -> None:
        """Take in which budgets there are. Raises `StoreError`."""
        found = await self._blocking(read_budgets, self._store)
        before, self._budgets = self._budgets, found
        by_key = {each.key: each for each in found}
        for drawer in self._drawers.values():
            known = by_key.get(drawer.account.budget.key)
            drawer.gone = known is None
            drawer.account.budget = known or drawer.account.budget
        if by_key.keys() != {each.key for each in before}:
            self._count_anew()

    def open(self, shard: OpenShard) -> None:
        """Count a shard from now on."""
        self._holders[shard.number] = Holder(
            shard.number, holder_name(shard.plan.path, shard.plan.planned_at), shard.claim
        )
        if self._budgets:
            self._count_shard(shard)

    async def close(self, shard: OpenShard) -> None:
        """Give back what a shard has not used, and count it no longer. What cannot be written stays reserved
        until the shard is run, or looked at by `reconcile`."""
        with suppress(ImagineError):
            await self.look()  # one may have been set since the last look
        for index in [index for index in self._pending if index in shard.plan.indices]:
            self.update(shard.number, shard.item(index), shard.state[index])
        holder = self._holders.pop(shard.number)
        self.denials.forget(shard.number)
        for index in shard.plan.indices:
            self._shares.pop(index, None)
        for budget in self._budgets:  # somebody who has died may have drawn on these
            for period in recent_periods(budget, self._now()):
                self._drawer_of(budget, period)
        for drawer in self._present:
            try:
                await drawer.close(holder)
            except ImagineError as error:
                logger.warning("%s: what it holds of a budget stays as it is: %s", holder.name, error)

    def update(self, shard: int, item: BatchItem, state: ItemState) -> None:
        """Take in where an item stands now."""
        self._pending.pop(item.index, None)
        if self._budgets and shard in self._holders:
            self._count(self._holders[shard], item, amounts_of(item, state))

    async def take(self, item: BatchItem, planned: int) -> bool:
        """Set aside what a create may cost, in all budgets that concern it; `False` where one of them has no
        credits now that may come free yet, or where one that counts only some items does not hold it: then
        the item is denied (`denies`).

        Args:
            planned: how many creates of its shard and provider are still to come.

        Raises:
            BudgetUsedUpError: one that counts all items of the provider does not hold it.
            BudgetExceededError: the item has no price.
            FencedError: another process has taken the shard over.
            StoreError: the store is gone.
        """
        concerned = self._concerning(item)
        if not concerned:
            return True
        price = self._price(item, concerned)
        taken = False
        try:
            for budget in concerned:
                taken = False
                drawer = self._drawer(budget, self._now())
                holder = self._holders[self._shards.of(item.index).number]
                try:
                    taken = await drawer.take(holder, item.request.provider, price, price * planned)
                except BudgetUsedUpError as error:
                    if not budget.labels:
                        raise
                    self.denials.note(drawer.account, item.request.provider, price, error)
                    return False
                if not taken:
                    return False
                share = _Share(drawer, item.request.provider, "reserved", price)
                self._shares[item.index] = (*self._shares.get(item.index, ()), share)
                self._pending[item.index] = (*self._pending.get(item.index, ()), drawer)
            return True
        finally:
            if not taken:
                self.give_back(item, self._shards.state(item.index))

    def denies(self, item: BatchItem) -> bool:
        """Whether a budget that counts only some of a provider's items is used up for this one: then the run
        does not create it any more."""
        if not self.denials.first:
            return False
        shard, provider = self._shards.of(item.index).number, item.request.provider
        if self.denials.has(shard, provider, item.index):
            return True
        price = Decimal(str(item.estimate.credits or 0))
        if not self.denials.apply(self._concerning(item), provider, price, self._now()):
            return False
        self.denials.add(shard, provider, item.index)
        return True

    def pause(self, item: BatchItem) -> float:
        """Seconds until it is worth while to ask again for credits that may come free."""
        return max((self._drawer(each, self._now()).pause for each in self._concerning(item)), default=0.0)

    def end(self, provider: str) -> None:
        """Nothing more is created with a provider: what is set aside for it can be given back."""
        self._ended.add(provider)

    def give_back(self, item: BatchItem, state: ItemState) -> None:
        """Nothing is sent of what was set aside for an item. An item that was sent is left as it is."""
        if item.index in self._pending:
            self.update(self._shards.of(item.index).number, item, state)

    def moment(self, item: BatchItem) -> datetime | None:
        """The time to which a create belongs that is sent now; `None` where nothing is set aside for it, or
        in a period that is over, or not in all budgets that concern it by now."""
        now = self._now()
        pending = self._pending.get(item.index, ())
        keys = {drawer.account.budget.key for drawer in pending if drawer.account.period.holds(now)}
        return now if all(budget.key in keys for budget in self._concerning(item)) else None

    async def keep(self) -> None:
        """Follow which budgets there are, and write down what was spent, for as long as the run lasts."""
        noted_at = boot_seconds()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                due = boot_seconds() - noted_at >= NOTE_SECONDS
                noted_at = boot_seconds() if due else noted_at
                for drawer in self._present:
                    ended = not self._ended <= drawer.account.ended
                    drawer.account.ended |= self._ended
                    if ended or (due and (drawer.account.dirty or drawer.account.has_free)):
                        await drawer.settle()
            except ImagineError as error:
                logger.warning("budgets could not be looked at: %s", error)

    @property
    def _present(self) -> list[Drawer]:
        """The drawers of the budgets that there are by now."""
        keys = {each.key for each in self._budgets}
        return [each for each in self._drawers.values() if each.account.budget.key in keys]

    def _concerning(self, item: BatchItem, provider: str | None = None) -> list[Budget]:
        """The budgets that count what an item costs with a provider, its present one where none is given."""
        name = provider or item.request.provider
        return [each for each in self._budgets if each.concerns(name, item.request.labels)]

    def _price(self, item: BatchItem, budgets: list[Budget]) -> Decimal:
        if item.estimate.credits is None:
            raise BudgetExceededError(
                f"budget {budgets[0].name!r} cannot be kept: item {item.title} has no price; set one when "
                f"the batch is made, such as --price {item.request.provider}=1"
            )
        return Decimal(str(item.estimate.credits))

    def _drawer(self, budget: Budget, at: datetime) -> Drawer:
        for drawer in self._drawers.values():  # nearly always of this very period
            if drawer.account.budget is budget and drawer.account.period.holds(at):
                return drawer
        return self._drawer_of(budget, budget.period_of(at))

    def _drawer_of(self, budget: Budget, period: Period) -> Drawer:
        """The one drawer of a budget in a period. It stays for as long as the run lasts: who waits in it may
        be about to write."""
        known = self._drawers.get((budget.key, period.name))
        if known is not None:
            return known
        drawer = Drawer(
            Account(budget, period),
            self._store,
            self._blocking,
            announce=self._announce,
            times=self._times,
            now=self._now,
        )
        self._drawers[budget.key, period.name] = drawer
        return drawer

    def _count(self, holder: Holder, item: BatchItem, amounts: Iterable[Amount]) -> None:
        shares = tuple(self._shares_of(item, amounts))
        for drawer, provider, kind, amount in self._shares.pop(item.index, ()):
            drawer.account.add(holder, provider, kind, -amount)
        for drawer, provider, kind, amount in shares:
            drawer.account.add(holder, provider, kind, amount)
        if shares:
            self._shares[item.index] = shares

    def _shares_of(self, item: BatchItem, amounts: Iterable[Amount]) -> Iterator[_Share]:
        for provider, at, kind, credits in amounts:
            for budget in self._concerning(item, provider):
                yield _Share(self._drawer(budget, at or self._now()), provider, kind, credits)

    def _count_anew(self) -> None:
        """Count everything again: other budgets are kept from now on. What is set aside for creates that are
        about to be sent stays so."""
        for drawer in self._present:
            for used in drawer.account.used.values():
                used.clear()
        self._shares.clear()
        for shard in self._shards:
            if shard.number in self._holders:
                self._count_shard(shard)

    def _count_shard(self, shard: OpenShard) -> None:
        holder = self._holders[shard.number]
        for item, state in shard.view.standings():
            self._count(holder, item, amounts_of(item, state))
            self._count_pending(holder, item)

    def _count_pending(self, holder: Holder, item: BatchItem) -> None:
        price = Decimal(str(item.estimate.credits or 0))
        for drawer in self._pending.get(item.index, ()):
            drawer.account.add(holder, item.request.provider, "reserved", price)
            share = _Share(drawer, item.request.provider, "reserved", price)
            self._shares[item.index] = (*self._shares.get(item.index, ()), share)
