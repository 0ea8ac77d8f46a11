"""What a process sends with some accounts, noted under the root for all to see."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from prefect_imagine.batches.accounts.record import AccountRecord, change_account_record
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

NOTE_SECONDS = 30.0


class Traffic:
    """Counts what is sent with some accounts, for as long as their clients live.

    Args:
        clients: by provider.
        identities: names of their accounts.
    """

    def __init__(self, clients: Mapping[str, ProviderClient], identities: Mapping[str, str]) -> None:
        self._accounts = {name: _AccountTraffic(identities[name], client) for name, client in clients.items()}

    def saw_balance(self, provider: str, balance: Balance) -> None:
        """Take in what is left on an account, as it has just been told."""
        self._accounts[provider].balances.append((balance, utc_now()))

    async def note(self, store: Store, blocking: Blocking) -> None:
        """Note what is new. Where the store fails, that waits for the next time: only metrics need it."""
        for account in self._accounts.values():
            await account.note(store, blocking)

    async def keep_noting(self, store: Store, blocking: Blocking) -> None:
        """Do so again and again."""
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            await self.note(store, blocking)


class _AccountTraffic:
    def __init__(self, identity: str, client: ProviderClient) -> None:
        self.balances: list[tuple[Balance, datetime]] = []
        self._identity = identity
        self._client = client
        self._sent: Counter[str] = Counter()
        self._refused = 0

    async def note(self, store: Store, blocking: Blocking) -> None:
        client, balances = self._client, self.balances
        sent, refused = client.requests - self._sent, client.pacer.refused - self._refused
        if not (sent or refused or balances):
            return
        limit, told = client.pacer.limit, client.pacer.led_by_headers

        def added(known: AccountRecord) -> AccountRecord:
            changed = known.with_traffic(sent, refused)
            if limit is not None:
                changed = changed.with_limit(limit, told=told)
            for balance, at in balances:
                changed = changed.with_balance(balance.credits, at)
            return changed

        # Counted as noted from here on: a write that is given up on at the end of a run goes on by itself.
        self._sent, self._refused, self.balances = self._sent + sent, self._refused + refused, []
        try:
            await blocking.once(change_account_record, store, self._identity, client.provider, added)
        except StoreError as error:
            self._sent, self._refused = self._sent - sent, self._refused - refused
            self.balances = [*balances, *self.balances]
            logger.info("%s: what was sent cannot be noted: %s", client.provider, error)
