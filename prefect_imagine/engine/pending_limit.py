"""How many jobs a provider takes at once."""

from __future__ import annotations

CREATES_BETWEEN_PROBES = 20
"""Accepted creates after which one more pending job is tried than the provider was found to take."""
MAX_CREATES_BETWEEN_PROBES = 80


class PendingLimit:
    """Learns from a provider's refusals how many jobs may be pending at once.

    After some accepted creates one job more is tried; each one that passes halves the way to the next, and
    each refusal doubles it.
    """

    def __init__(self) -> None:
        self._limit: float | None = None
        self._between_probes = CREATES_BETWEEN_PROBES
        self._refused_at = 0

    @property
    def limit(self) -> int | None:
        """How many may be pending; `None` where nothing has shown a limit."""
        return None if self._limit is None else int(self._limit)

    def begin_at(self, limit: int) -> None:
        """Begin with a limit that was found before."""
        self._limit = float(limit)

    def reached(self, pending: int) -> bool:
        """Whether so many jobs are all that the provider takes."""
        return self.limit is not None and pending >= self.limit

    def accepted(self, pending: int) -> None:
        """A create passed while so many jobs were pending."""
        if self._limit is None:
            return
        if pending + 1 >= int(self._limit) > self._refused_at:
            self._refused_at = int(self._limit)
            self._between_probes = max(1, self._between_probes // 2)
        self._limit += 1 / self._between_probes

    def refused(self, pending: int) -> None:
        """A create was refused because so many jobs were pending."""
        if self._limit is not None:
            self._between_probes = min(MAX_CREATES_BETWEEN_PROBES, 2 * self._between_probes)
        self._limit = float(pending)
        self._refused_at = pending
