"""What a person has approved of a batch: `approvals/<n>.json`, each put if absent. The last one counts.

An approval is kept before anything is made of it, so that a run that crashes afterwards asks nobody again. It
names what it is for: shards by when they were planned, and items by what had been created for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from prefect_imagine.errors import StoreError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

_TRIES = 50


class ApprovedLine(Frozen):
    """How many items of one model may be created.

    Attributes:
        provider: who creates them.
        kind: of what is created.
        model: by which.
        items: how many.
        credits: what they are expected to cost; `None` where some have no price.
    """

    provider: str
    kind: str
    model: str
    items: int
    credits: Credits | None = None


class ApprovedShard(Frozen):
    """Which items of a shard may be created.

    Attributes:
        number: of the shard.
        planned_at: when it was planned.
        asked: a hash of what was asked for, where the shard was not written yet.
        items: the first and the last of some items in a row, and how many jobs each of them had before.
    """

    number: int
    planned_at: datetime | None = None
    asked: str | None = None
    items: tuple[tuple[int, int, int], ...] = ()


class Changes(Frozen):
    """What a person wants otherwise than it was asked for.

    Attributes:
        max_credits: what the batch may cost at most; `None`: as the run was told.
        without: providers at which nothing is to be created.
    """

    max_credits: Credits | None = None
    without: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.max_credits is not None or bool(self.without)


class Approval(Frozen):
    """What a person has approved.

    Attributes:
        format: of the object.
        step: `given` before anything is made of it; `planned` once its shards are written; `ended` once a run
            has made of it what can be made: it holds no longer.
        at: when it was given.
        asked_by: the flow run that asked.
        answer: names the answer that it is, of all that were given.
        changes: what that person wants otherwise.
        max_credits: what the batch may cost as the run was told, changes aside.
        max_credits_by_provider: the same for single providers.
        lines: what may be created, and what for.
        shards: the same item by item.
    """

    format: Literal[1] = 1
    step: Literal["given", "planned", "ended"] = "given"
    at: datetime
    asked_by: str = ""
    answer: str = ""
    changes: Changes = Field(default_factory=Changes)
    max_credits: Credits | None = None
    max_credits_by_provider: dict[str, Credits] = Field(default_factory=dict)
    lines: tuple[ApprovedLine, ...] = ()
    shards: tuple[ApprovedShard, ...] = ()


def keep_approval(store: Store, batch_id: str, approval: Approval) -> None:
    """Put it after all others. Raises `StoreError`."""
    data = approval.model_dump_json(exclude_none=True).encode()
    number = _last(store, batch_id)
    for _ in range(_TRIES):
        number += 1
        key = _key(batch_id, number)
        # A write that the store's client repeated has met itself.
        if store.put_new(key, data, "application/json") or store.read(key) == data:
            return
    raise StoreError(f"no place was found for an approval of batch {batch_id!r}", retryable=True)


def read_approval(store: Store, batch_id: str) -> Approval | None:
    """The one that holds; `None` where there is none, or one of a later version. Raises `StoreError`."""
    number = _last(store, batch_id)
    approval = _read(store, _key(batch_id, number)) if number else None
    return None if approval is None or approval.step == "ended" else approval


def is_kept(store: Store, batch_id: str, answer: str) -> bool:
    """Whether an answer has been kept, or may have been in one that cannot be read. Raises `StoreError`."""
    found = (_read(store, each.key) for each in store.list(_folder(batch_id)))
    return any(approval is None or approval.answer == answer for approval in found)


def _read(store: Store, key: str) -> Approval | None:
    try:
        return Approval.model_validate_json(store.read(key) or b"")
    except ValidationError:
        return None


def _last(store: Store, batch_id: str) -> int:
    names = (found.key.rpartition("/")[2].removesuffix(".json") for found in store.list(_folder(batch_id)))
    return max((int(name) for name in names if name.isdigit()), default=0)


def _folder(batch_id: str) -> str:
    return f"{batch_id}/approvals/"


def _key(batch_id: str, number: int) -> str:
    return f"{_folder(batch_id)}{number:08d}.json"
