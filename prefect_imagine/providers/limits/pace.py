"""What is known of one key's limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """What is known of one key's limit, shared by all who use the key on this machine.

    Attributes:
        machine: names this machine among those that use the key.
        machines: how many do, with this one.
        window: the longest time that was seen from an answer to its window's reset, in seconds.
        opened: how many requests remained when this window was seen first.
        reset_named: the moment of the window's reset as the provider names it (epoch seconds), if it does.
        unslowed: the interval before the 429s since the last create that passed, if there were any.
        frozen_at, frozen_until, freezes: when the last request was refused that is to count, until when all
            are quiet, and how many were refused since one passed.
        refused_at, wait_told: when the first of these was refused, and whether the provider told the wait.
        began_at, passed: since when requests have been sent without a pause or a 429 between them, and how
            many of them passed.
        evidence: how many requests the measured interval rests on.
        proven, refused_steps: the interval before a step that is not proven yet, and how many were refused.
        met, unrefused: how often a limit that no header tells was met, and how many requests have passed
            since then.
    """

    machine: str = ""
    machines: int = 1
    by_headers: bool = False
    limit: int = 0
    left: int = 0
    window: float = 0.0
    opened: int = 0
    window_reset: float = 0.0
    reset_named: float | None = None
    reset_at: float = 0.0
    in_flight: int = 0
    probe_until: float = 0.0
    answered: bool = False
    next_at: float = 0.0
    interval: float = 0.0
    unslowed: float | None = None
    frozen_at: float = 0.0
    frozen_until: float = 0.0
    freezes: int = 0
    began_at: float = 0.0
    granted_at: float = 0.0
    passed: int = 0
    refused_at: float = 0.0
    wait_told: bool = False
    evidence: int = 0
    proven: float = 0.0
    refused_steps: int = 0
    met: int = 0
    unrefused: int = 0

    @property
    def free(self) -> int:
        """Requests of the window that this machine may still send, if since its last answer each of the
        others has sent as many as this one will have with the next."""
        return self.left - (self.machines - 1) * (self.in_flight + 1)
