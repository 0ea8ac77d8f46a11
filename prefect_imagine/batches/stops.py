"""Why a run creates nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from prefect_imagine.errors import BudgetUsedUpError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen


class StopReason(StrEnum):
    """Why creating ended before everything was created."""

    BUDGET = "budget"
    CREDITS = "credits"
    AUTHENTICATION = "key"
    FAILING = "failing"
    UNREADABLE = "unreadable"
    UNREACHABLE = "gone"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    CANCELLED = "cancelled"
    SUSPENDED = "suspended"


ASKED = (StopReason.INTERRUPTED, StopReason.TERMINATED, StopReason.CANCELLED, StopReason.SUSPENDED)
"""Somebody asked the run to end."""


class WaitsFor(Frozen):
    """The budget that a batch waits for.

    Attributes:
        budget: its name.
        provider: whose credits it does not hold.
        credits: how many the next create needs.
        until: when it begins again; `None` for one that never does.
    """

    budget: str
    provider: str
    credits: Credits
    until: datetime | None = None

    @classmethod
    def of(cls, error: BudgetUsedUpError) -> WaitsFor:
        """What an error names."""
        return cls(budget=error.budget, provider=error.provider, credits=error.credits, until=error.until)


@dataclass(frozen=True)
class Stop:
    """Why creating ended, in a word and a sentence.

    Attributes:
        waits_for: the budget of the root that was used up, if that is why.
    """

    reason: StopReason
    message: str
    waits_for: WaitsFor | None = None
