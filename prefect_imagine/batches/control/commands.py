"""Commands to whoever runs a batch, each an object of its own beside the journal: `control/<n>.json`.

A command is written before anything else is done about it, so that a run that is stopped can say by whom.
"""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import ValidationError

from prefect_imagine.batches.process_identity import host_name
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

CANCEL = "cancel"
_TRIES = 50


class Command(Frozen):
    """A command to a run.

    Attributes:
        kind: what it is to do: `cancel`.
        at: when it was given.
        host: from which machine.
    """

    kind: str
    at: datetime
    host: str


def write_command(store: Store, batch_id: str, kind: str) -> None:
    """Put the next command. Raises `StoreError`."""
    command = Command(kind=kind, at=utc_now(), host=host_name())
    data = command.model_dump_json().encode()
    number = last_command(store, batch_id)
    for _ in range(_TRIES):
        number += 1
        key = _key(batch_id, number)
        # A write that the store's client repeated has met itself.
        if store.put_new(key, data, "application/json") or store.read(key) == data:
            return
    raise StoreError(f"no place was found for a command to batch {batch_id!r}", retryable=True)


def last_command(store: Store, batch_id: str) -> int:
    """The number of the last command there is; 0 for none. Raises `StoreError`."""
    return max((_number(found.key) for found in store.list(_folder(batch_id))), default=0)


def cancelled_since(store: Store, batch_id: str, number: int) -> Command | None:
    """The first cancellation after a command's number. Raises `StoreError`."""
    for found in store.list(_folder(batch_id), after=_key(batch_id, number)):
        command = _read(store, found.key)
        if command is not None and command.kind == CANCEL:
            return command
    return None


def _read(store: Store, key: str) -> Command | None:
    """A command; `None` for one of a later version, which this one cannot follow."""
    try:
        known = json.loads(store.read(key) or b"")
        return Command.model_validate({name: known.get(name) for name in Command.model_fields})
    except (ValueError, ValidationError, AttributeError):
        return None


def _folder(batch_id: str) -> str:
    return f"{batch_id}/control/"


def _key(batch_id: str, number: int) -> str:
    return f"{_folder(batch_id)}{number:08d}.json"


def _number(key: str) -> int:
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if name.isdigit() else 0
