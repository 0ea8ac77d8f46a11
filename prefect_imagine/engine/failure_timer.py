"""How long something has been failing."""

from __future__ import annotations

from prefect_imagine.clock import boot_seconds


class FailureTimer:
    """How long a provider has been failing without a break."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None

    def failed(self) -> None:
        """It has failed once more."""
        self._since = self._since or boot_seconds()

    @property
    def expired(self) -> bool:
        """Whether it has been failing for longer than the patience (seconds)."""
        return self._since is not None and boot_seconds() - self._since > self._patience

    def clear(self) -> None:
        """It works again."""
        self._since = None
