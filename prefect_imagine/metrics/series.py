"""A bound on the number of series: names beyond so many become `other`."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"
MOST_MODELS = 200
MOST_REASONS = 50
"""Of a provider's models, and of all reasons, so many have series of their own."""


class Names:
    """The first names that it meets keep their own, so that no counter ever loses what it has counted.

    Args:
        most: how many those are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._own: set[str] = set()

    def meet(self, names: Iterable[str]) -> None:
        """Take names in, those of one moment in the order of the alphabet: whoever begins at the same root
        tells the same."""
        for name in sorted(set(names) - self._own)[: self._most - len(self._own)]:
            self._own.add(name)

    def __getitem__(self, name: str) -> str:
        """The name that it goes by."""
        return name if name in self._own else OTHER
