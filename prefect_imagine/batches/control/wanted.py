"""What the commands to a batch add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prefect_imagine.batches.control.commands import Command, commands_since
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.providers.credits import Credits
from prefect_imagine.stores import Store


@dataclass(frozen=True)
class RetryOf:
    """A command to create an item again.

    Attributes:
        unknown: whether it holds also where the item's fate is unknown.
    """

    number: int
    unknown: bool = False

    def wants(self, phase: Phase, state: ItemState) -> bool:
        """Whether an item that stands so is to be created again: a command is obeyed once."""
        stands = phase is Phase.FAILED or (phase is Phase.UNKNOWN and self.unknown)
        return stands and state.commanded < self.number


@dataclass(frozen=True)
class Wanted:
    """How a batch is to be run, by the commands that were given, in order.

    Attributes:
        commands: by number.
    """

    commands: Mapping[int, Command] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the last command; 0 for none."""
        return max(self.commands, default=0)

    def and_then(self, number: int, command: Command) -> Wanted:
        """With a further command."""
        return Wanted({**self.commands, number: command})

    def pause_of(self, provider: str) -> Command | None:
        """The command by which nothing is to be created with a provider for now, if there is one."""
        for command in reversed([*self.commands.values()]):
            if command.kind in ("pause", "resume") and command.concerns(provider):
                return command if command.kind == "pause" else None
        return None

    @property
    def paused(self) -> bool:
        """Whether nothing is to be created for now with some provider."""
        named = {name for each in self.commands.values() for name in each.providers}
        return any(self.pause_of(name) is not None for name in (*named, ""))

    @property
    def told(self) -> list[str]:
        """What was commanded, by whom and why, in words and in order."""
        return [f"{command.does} {command.given}" for command in self.commands.values()]

    def pauses(self, providers: Iterable[str]) -> dict[str, Command]:
        """Those of these providers that are paused, with the command."""
        found = ((name, self.pause_of(name)) for name in providers)
        return {name: command for name, command in found if command is not None}

    def max_credits(self, after: int) -> tuple[Credits | None, dict[str, Credits]]:
        """What the batch may cost, in all and by provider, as the last commands after this one say; nothing
        where none does."""
        total: Credits | None = None
        by_provider: dict[str, Credits] = {}
        for number, each in self.commands.items():
            if number <= after or each.max_credits is None:
                continue
            if each.providers:
                by_provider |= dict.fromkeys(each.providers, each.max_credits)
            else:
                total = each.max_credits
        return total, by_provider

    def rates(self, after: int) -> dict[str, str]:
        """Requests to keep below, by provider, as commands after this one say."""
        rates: dict[str, str] = {}
        for number, each in self.commands.items():
            if number > after:
                rates |= each.rates
        return rates

    def again(self) -> dict[int, RetryOf]:
        """The items that are to be created again, each with the last command that says so."""
        return {
            item: RetryOf(number, each.recreate_unknown)
            for number, each in self.commands.items()
            if each.kind == "retry"
            for item in each.items
        }


def read_wanted(store: Store, batch_id: str) -> Wanted:
    """What all commands to a batch add up to. Raises `StoreError`."""
    return Wanted(dict(commands_since(store, batch_id, 0)))
