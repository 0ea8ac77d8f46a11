"""Everything one sandbox knows, in one place that all its APIs share."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from prefect_imagine.sandbox.core.accounts import Account, Accounts
from prefect_imagine.sandbox.core.agenda import Agenda
from prefect_imagine.sandbox.core.books import Books, Job
from prefect_imagine.sandbox.core.clock import Clock
from prefect_imagine.sandbox.core.deliveries import Deliveries
from prefect_imagine.sandbox.core.faults import Faults
from prefect_imagine.sandbox.core.settings import SandboxSettings


class World:
    """Settings, time, accounts, books, faults and webhooks of one sandbox."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.accounts = Accounts()
        self.books = Books()
        self.faults = Faults(settings.seed)
        self.agenda = Agenda(self.clock)
        self.deliveries = Deliveries(self)

    def configure(self, **changes: Any) -> SandboxSettings:
        """Change settings from now on; jobs already accepted keep what was decided for them."""
        self.settings = self.settings.changed(**changes)
        return self.settings

    def advance(self, seconds: float) -> None:
        """Make the clock jump ahead; what has become due is done at once."""
        self.clock.advance(seconds)
        self.agenda.wake()

    def reset(self) -> None:
        """Forget all jobs, accounts, counts, faults and deliveries; settings, time and tokens stay."""
        self.books.reset()
        self.accounts.clear()
        self.agenda.clear()
        self.deliveries.reset()
        self.faults.reset(self.settings.seed)

    def listable(self, account: Account, now: float) -> list[Job]:
        """The account's jobs that lists show by now, newest first."""
        lag = self.settings.history_lag_seconds
        if not lag:
            return account.jobs[::-1]
        shown = bisect_right(account.jobs, now - lag, key=lambda job: job.created_at)
        return account.jobs[:shown][::-1]
