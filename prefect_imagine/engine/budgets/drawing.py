"""Drawing on a budget: credits for the next creates, written down before any of them is sent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.billing.budgets.holdings import NONE, Holding, Holdings
from prefect_imagine.billing.budgets.sequence import read_holdings, write_holdings
from prefect_imagine.billing.budgets.thresholds import Announce, reached
from prefect_imagine.clock import Deadline, boot_seconds, utc_now
from prefect_imagine.engine.budgets.account import Account, Holder
from prefect_imagine.errors import BudgetUsedUpError, StoreError
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.stores import Store

OFTEN, SELDOM = 6.0, 30.0
"""Seconds between draws below which more is drawn at once, and above which less."""


@dataclass(frozen=True)
class DrawTimes:
    """How long a run waits where it does not get credits at once, in seconds.

    Attributes:
        look: from one look at credits that may come free, since others have set them aside or it is not known
            yet whether a create was accepted, to the next.
        longest: for those, in all: longer than it takes to find out.
        contest: at most before it tries again where others have just changed what they hold.
        stuck: for its own change, in all.
    """

    look: float = 2.0
    longest: float = 120.0
    contest: float = 0.2
    stuck: float = 120.0


TIMES = DrawTimes()
"""Those that suit real stores."""


class Drawer:
    """Changes what a run's shards hold of one budget in one period, one change at a time. A run has no other
    one of the same.

    Attributes:
        gone: whether there is no such budget any more.
        announce: announces thresholds that are reached; without it they are left to somebody else.
    """

    def __init__(
        self,
        account: Account,
        store: Store,
        blocking: Blocking,
        *,
        announce: Announce | None = None,
        times: DrawTimes = TIMES,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.account = account
        self.announce = announce
        self.gone = False
        self._denied: set[str] = set()
        self._store = store
        self._blocking = blocking
        self._times = times
        self._now = now
        self._lock = asyncio.Lock()
        self._slices: dict[tuple[Holder, str], tuple[float, Decimal]] = {}
        self._short: dict[str, tuple[Deadline, float]] = {}

    async def take(self, holder: Holder, provider: str, price: Decimal, planned: Decimal) -> bool:
        """Use so many credits for a create that is about to be sent; `False` where there are none now that
        may come free yet, or there is no such budget any more.

        Args:
            planned: what all creates of the shard that are still to come may cost.

        Raises:
            BudgetUsedUpError: the budget does not hold them.
            FencedError: another process has taken the shard over.
            StoreError: the store is gone.
        """
        async with self._lock:
            self.account.used.setdefault(holder, {})
            enough = not price or self.account.free(holder, provider) >= price
            if enough or await self._draw(holder, provider, price, planned):
                self.account.add(holder, provider, "reserved", price)
                return True
            return False

    async def settle(self) -> None:
        """Write down what the run's shards have used by now, and give back what they have not used for a
        while. Raises `FencedError` or `StoreError`."""
        async with self._lock:
            self.account.dirty = False
            drawn_at = max((at for at, _ in self._slices.values()), default=-SELDOM)
            idle = boot_seconds() - drawn_at > SELDOM
            await self._make(self.account.used_alone if idle else self.account.entries)

    async def close(self, holder: Holder) -> None:
        """Give back what a shard has not used: nothing of it is created any more. Raises `FencedError` or
        `StoreError`."""
        async with self._lock:
            if holder not in self.account.used:
                await self.read()
                if holder.name not in self.account.holdings.holders:
                    return
            await self._make(lambda: {holder.name: self.account.entry(holder, {}, active=False)})
            self.account.used.pop(holder, None)

    async def read(self) -> None:
        """Take in what all hold by now. Raises `FencedError` or `StoreError`."""
        account = self.account
        account.holdings = await self._blocking(
            read_holdings, self._store, account.budget.key, account.period.name, account.holdings
        )
        account.check_claims()

    async def _draw(self, holder: Holder, provider: str, price: Decimal, planned: Decimal) -> bool:
        account, stuck = self.account, Deadline(self._times.stuck)
        if self._looked_just_now(provider):
            return False
        await self.read()
        while not self.gone and (more := account.rest(provider) - price) >= 0:
            ahead = min(self._ahead(holder, provider, price, planned), more / (1 + account.others_active))
            share = price + ahead // price * price
            if await self._write(account.entries(holder, provider, share), stuck):
                self._slices[holder, provider] = boot_seconds(), share
                self._short.pop(provider, None)
                return True
            await self.read()
        if self.gone:
            return False
        # Others may wait for what a killed process had set aside of this very shard.
        await self._make(account.entries)
        patience, _ = self._short.get(provider, (Deadline(self._times.longest), 0.0))
        self._short[provider] = patience, boot_seconds()
        if account.may_come_free(provider, price) and not patience.passed:
            return False
        self._denied.add(provider)
        await self._make(account.entries)
        raise self._used_up(provider, price)

    def _looked_just_now(self, provider: str) -> bool:
        """Whether somebody has just found that there are no credits: a look for all is enough."""
        _, looked_at = self._short.get(provider, (None, -self._times.look))
        return boot_seconds() - looked_at < self._times.look

    @property
    def pause(self) -> float:
        """Seconds until it is worth while to ask again for credits that may come free."""
        return random.uniform(0.5, 1.0) * self._times.look

    def _ahead(self, holder: Holder, provider: str, price: Decimal, planned: Decimal) -> Decimal:
        """How much more to draw: what is used in about ten seconds, as far as that much is to come."""
        drawn_at, size = self._slices.get((holder, provider), (-SELDOM, price))
        since = boot_seconds() - drawn_at
        size = 2 * size if since < OFTEN else size / 2 if since > SELDOM else size
        return max(price, min(size, planned)) - price

    async def _make(self, entries: Callable[[], Mapping[str, Holding]]) -> None:
        stuck = Deadline(self._times.stuck)
        while True:
            await self.read()
            if not self.account.holdings.seq and not self.account.period.holds(self._now()):
                return  # nobody has counted that period
            if await self._write(entries(), stuck):
                return

    async def _write(self, entries: Mapping[str, Holding], stuck: Deadline) -> bool:
        """Change these holdings, unless others have changed some meanwhile."""
        account = self.account
        known = account.holdings
        changed = self._with_warnings(known.with_holders(entries))
        if known.holds(entries) and changed.warned == known.warned:
            return True
        written = await self._blocking(
            write_holdings,
            self._store,
            account.budget.key,
            account.period.name,
            known,
            changed,
            self._now(),
        )
        if written is not None:
            account.holdings = written
            return True
        if stuck.passed:
            raise StoreError(
                f"budget {account.budget.name!r} is changed by too many at once: nothing was drawn from it"
            )
        await asyncio.sleep(random.uniform(0.0, self._times.contest))
        return False

    def _with_warnings(self, holdings: Holdings) -> Holdings:
        """Announce each threshold that these holdings reach, and give them with that. It is announced before
        it is written down: whoever dies in between leaves it to the next one."""
        announce = self.announce
        if announce is None:
            return holdings
        budget, period = self.account.budget, self.account.period
        for each in reached(budget, period, holdings, self._denied):
            announce(each)
            holdings = holdings.with_warning(each.provider, each.percent)
        return holdings

    def _used_up(self, provider: str, price: Decimal) -> BudgetUsedUpError:
        account = self.account
        limit, rest = account.limit(provider), account.rest(provider)
        period, until = account.period, account.period.end
        held = ", or may yet come free" if account.may_come_free(provider, price) else ""
        again = f"; it begins again at {until:%Y-%m-%d %H:%M} UTC" if until is not None else ""
        message = (
            f"budget {account.budget.name!r} ({period.name}): {add_credits([price])} more {provider} credits "
            f"would pass its {add_credits([limit])}: {add_credits([limit - max(NONE, rest)])} are spent or "
            f"held{held}{again}"
        )
        return BudgetUsedUpError(
            message,
            budget=account.budget.name,
            provider=provider,
            credits=add_credits([price]),
            until=until,
        )
