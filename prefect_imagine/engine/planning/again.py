"""Which items are to be created once more, although they have failed or their fate is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect_imagine.batches.control.wanted import RetryOf
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.state import ItemState, Phase


@dataclass(frozen=True)
class By:
    """Who wants an item created again: a command, by its number, or the run itself."""

    command: int | None = None


@dataclass(frozen=True)
class Again:
    """What is to be created once more: by the run's options all that stands so, by commands single items.

    Attributes:
        items: those that commands name, each with the last one.
    """

    options: BatchOptions
    items: Mapping[int, RetryOf] = field(default_factory=dict)

    def by(self, index: int, phase: Phase, state: ItemState) -> By | None:
        """Who wants an item created again; `None` for nobody.

        Args:
            phase: where it stands; of a withdrawn one, where it stood before.
        """
        command = self.items.get(index)
        if command is not None and command.wants(phase, state):
            return By(command.number)
        return By() if self.options.creates_again(phase) else None
