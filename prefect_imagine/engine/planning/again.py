"""Which items are to be created once more, although they have failed or their fate is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.state import Phase


def asked_by(command: int) -> str:
    """Names the command that wants an item created again, where a run would be named otherwise."""
    return f"command {command}"


@dataclass(frozen=True)
class Again:
    """What is to be created once more: by the run's options all that stands so, by commands single items.

    Attributes:
        items: those that commands name, each with the number of the last one.
    """

    options: BatchOptions
    items: Mapping[int, int] = field(default_factory=dict)

    def by(self, index: int, phase: Phase, retried_by: str) -> str | None:
        """Who wants an item created again that stands so: empty for the run itself; `None` for nobody.

        Args:
            retried_by: who had it created again last: a command is obeyed once.
        """
        command = self.items.get(index)
        named = command is not None and phase in (Phase.FAILED, Phase.UNKNOWN)
        if command is not None and named and retried_by != asked_by(command):
            return asked_by(command)
        return "" if self.options.creates_again(phase) else None
