"""Why a run creates nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True)
class Stop:
    """Why creating ended, in a word and a sentence."""

    reason: StopReason
    message: str
