"""Commands to whoever runs a batch, each an object of its own beside the journal: `control/<n>.json`.

A command is written before anything else is done about it, so that a run that is stopped can say by whom. A
run obeys those that come while it lives, and begins as those before it say.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from prefect_imagine.batches.process_identity import host_name
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

CommandKind = Literal["pause", "resume", "set", "retry", "cancel"]
MOST_WORDS = 1000
_TRIES = 50


class Command(Frozen):
    """A command to a run.

    Attributes:
        kind: what it is to do: create nothing for now, go on, keep other limits, create items again, or stop.
        at: when it was given.
        host: from which machine.
        by: who gave it.
        why: what they said of it.
        providers: only with these; with all where none is named.
        max_credits: of `set`, what the batch may cost.
        rates: of `set`, requests to keep below, by provider.
        items: of `retry`, the indices of the items.
        recreate_unknown: of `retry`, whether items of unknown fate are meant, too.
    """

    kind: CommandKind
    at: datetime = Field(default_factory=utc_now)
    host: str = Field(default_factory=host_name)
    by: str = ""
    why: str = Field(default="", max_length=MOST_WORDS)
    providers: tuple[str, ...] = ()
    max_credits: Credits | None = None
    rates: dict[str, str] = Field(default_factory=dict)
    items: tuple[int, ...] = ()
    recreate_unknown: bool = False

    def concerns(self, provider: str) -> bool:
        """Whether it means a provider."""
        return not self.providers or provider in self.providers

    @property
    def does(self) -> str:
        """What it is to do, in words."""
        whom = f" {', '.join(self.providers)}" if self.providers else ""
        limits = [f"max_credits {self.max_credits}"] if self.max_credits is not None else []
        limits += [f"{provider} {rate}" for provider, rate in self.rates.items()]
        items = [f"items {', '.join(map(str, self.items))}"] if self.items else []
        return " ".join([f"{self.kind}{whom}", ", ".join([*limits, *items])]).strip()

    @property
    def given(self) -> str:
        """By whom it was given, when, and why, in words."""
        who = f"{self.by} on {self.host}" if self.by else self.host
        why = f": {self.why}" if self.why else ""
        return f"from {who} at {self.at:%Y-%m-%d %H:%M:%S} UTC{why}"


def user_name() -> str:
    """Who gives commands from here, as the system knows them; empty where it does not."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def write_command(store: Store, batch_id: str, command: Command) -> int:
    """Put the next command, and give its number. Raises `StoreError`."""
    data = command.model_dump_json(exclude_defaults=True, exclude_none=True).encode()
    number = last_command(store, batch_id)
    for _ in range(_TRIES):
        number += 1
        key = _key(batch_id, number)
        # A write that the store's client repeated has met itself.
        if store.put_new(key, data, "application/json") or store.read(key) == data:
            return number
    raise StoreError(f"no place was found for a command to batch {batch_id!r}", retryable=True)


def last_command(store: Store, batch_id: str) -> int:
    """The number of the last command there is; 0 for none. Raises `StoreError`."""
    return max((_number(found.key) for found in store.list(_folder(batch_id))), default=0)


def commands_since(store: Store, batch_id: str, number: int) -> Iterator[tuple[int, Command]]:
    """The commands after a command's number, in order; those of a later version, which this one cannot
    follow, are left out. Raises `StoreError`."""
    for found in store.list(_folder(batch_id), after=_key(batch_id, number)):
        command = _read(store, found.key)
        if command is not None:
            yield _number(found.key), command


def cancelled_since(store: Store, batch_id: str, number: int) -> Command | None:
    """The first cancellation after a command's number. Raises `StoreError`."""
    found = commands_since(store, batch_id, number)
    return next((command for _, command in found if command.kind == "cancel"), None)


def _read(store: Store, key: str) -> Command | None:
    try:
        known = json.loads(store.read(key) or b"")
        return Command.model_validate({name: known[name] for name in Command.model_fields if name in known})
    except (ValueError, ValidationError, TypeError):
        return None


def _folder(batch_id: str) -> str:
    return f"{batch_id}/control/"


def _key(batch_id: str, number: int) -> str:
    return f"{_folder(batch_id)}{number:08d}.json"


def _number(key: str) -> int:
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if name.isdigit() else 0
